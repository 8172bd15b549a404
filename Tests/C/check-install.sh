#!/bin/sh
# Usage: check-install.sh SOURCE_DIRECTORY BUILD_DIRECTORY LIBDIR
#
# Installs into a temporary prefix, moves it, and uses it as another project would: through pkg-config, through CMake's
# find_package, and with the one-line command of bindings/c/smoke.c; in C, and in C++ where there is a compiler.
set -eu
source=$1 build=$2 libdir=$3

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --install "$build" --prefix "$work/first" >/dev/null
mv "$work/first" "$work/moved"
prefix=$work/moved
find "$prefix" \( -type f -o -type l \) -printf '  %P\n' | sort

fail() { echo "FAILED: $*"; exit 1; }

for file in include/rnn.h include/rnn.hpp "$libdir/librnn.so" "$libdir/pkgconfig/rnn.pc" share/licenses/librnn/LICENSE \
            share/licenses/librnn/NOTICE; do
  [ -e "$prefix/$file" ] || fail "$file is not installed"
done
[ -z "$(find "$prefix" -name '*.modulemap')" ] || fail "a module map is installed"

echo "== what the library needs"
needed=$(readelf -d "$prefix/$libdir/librnn.so" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
echo "$needed" | sed 's/^/  /'
for library in $needed; do
  case $library in
    libc.so.6 | libm.so.6 | libdl.so.2 | libpthread.so.0 | libgcc_s.so.1 | libstdc++.so.6 | ld-linux-*) ;;
    *) fail "librnn.so needs $library" ;;
  esac
done
readelf -d "$prefix/$libdir/librnn.so" | grep -E 'R(UN)?PATH' && fail "librnn.so has a path of the build machine"
soname=$(readelf -d "$prefix/$libdir/librnn.so" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
[ -e "$prefix/$libdir/$soname" ] || fail "its SONAME $soname is not installed"

echo "== pkg-config"
export PKG_CONFIG_PATH="$prefix/$libdir/pkgconfig"
cc "$source/bindings/c/smoke.c" $(pkg-config --cflags --libs rnn) -o "$work/with-pkg-config"
LD_LIBRARY_PATH="$prefix/$libdir" "$work/with-pkg-config"
if command -v c++ >/dev/null; then
  c++ -std=c++17 "$source/bindings/cpp/first.cpp" $(pkg-config --cflags --libs rnn) -o "$work/with-pkg-config-cpp"
  (cd "$work" && LD_LIBRARY_PATH="$prefix/$libdir" ./with-pkg-config-cpp)
fi
version=$(pkg-config --modversion rnn)
grep -q "\"$version\"" "$prefix/include/rnn.h" || fail "pkg-config says version $version, rnn.h another"

echo "== find_package"
mkdir "$work/project"
cat > "$work/project/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.20)
project(user LANGUAGES C)
find_package(rnn $version REQUIRED)
add_executable(with-cmake "$source/bindings/c/smoke.c")
target_link_libraries(with-cmake PRIVATE rnn::rnn)
END
cmake -S "$work/project" -B "$work/project/build" -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
cmake --build "$work/project/build" >/dev/null
"$work/project/build/with-cmake"
if command -v c++ >/dev/null; then
  mkdir "$work/project-cpp"
  sed -e 's/LANGUAGES C)/LANGUAGES CXX)/' -e 's|bindings/c/smoke.c|bindings/cpp/first.cpp|' "$work/project/CMakeLists.txt" \
    > "$work/project-cpp/CMakeLists.txt"
  cmake -S "$work/project-cpp" -B "$work/project-cpp/build" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_CXX_STANDARD=17 >/dev/null
  cmake --build "$work/project-cpp/build" >/dev/null
  (cd "$work" && "$work/project-cpp/build/with-cmake")
fi

echo "== cc smoke.c -lrnn"
CPATH="$prefix/include" LIBRARY_PATH="$prefix/$libdir" cc "$source/bindings/c/smoke.c" -lrnn -o "$work/plain"
LD_LIBRARY_PATH="$prefix/$libdir" "$work/plain"
