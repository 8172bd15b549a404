// What the programs of this folder share: the checks of the C programs, and checks of exceptions.
#ifndef CHECK_HPP
#define CHECK_HPP

#include <rnn.hpp>

#include "../c/check.h"

#include <cstring>
#include <utility>
#include <vector>

/** The expression throws an rnn::Error of that status, with a message. */
#define THROWS(expected, expression)                                                                         \
  do {                                                                                                       \
    bool thrown_ = false;                                                                                    \
    try {                                                                                                    \
      static_cast<void>(expression);                                                                         \
    } catch (const rnn::Error &error_) {                                                                     \
      thrown_ = true;                                                                                        \
      if (error_.status() != (expected) || error_.what()[0] == 0) {                                          \
        std::printf("  FAILED %s:%d: %s\n    threw %s (%s), expected %s\n", __FILE__, __LINE__, #expression, \
                    error_.name(), error_.what(), rnn_status_name(expected));                                \
        failures++;                                                                                          \
      }                                                                                                      \
    }                                                                                                        \
    if (!thrown_) {                                                                                          \
      std::printf("  FAILED %s:%d: %s\n    did not throw\n", __FILE__, __LINE__, #expression);               \
      failures++;                                                                                            \
    }                                                                                                        \
  } while (0)

/** Both have the same number of elements and the same bits. */
template <class First, class Second>
bool same_bits(const First &first, const Second &second) {
  const auto *a = std::data(first);
  const auto *b = std::data(second);
  static_assert(sizeof *a == sizeof *b, "elements of one size");
  return std::size(first) == std::size(second) &&
         (std::size(first) == 0 || std::memcmp(a, b, std::size(first) * sizeof *a) == 0);
}

/** Numbers in [-1, 1), the same on every platform. */
template <class Scalar>
std::vector<Scalar> numbers(std::size_t count, std::uint64_t seed) {
  std::vector<Scalar> values(count);
  for (Scalar &value : values) value = static_cast<Scalar>(uniform(&seed));
  return values;
}

#endif /* CHECK_HPP */
