/// Every way in which librnn can fail.
///
/// The code says what kind of mistake it is, for programs; the message names the argument (or node, or tensor), what was
/// expected and what came, for people.
public struct RNNError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The kinds of failure; `include/rnn.h` documents them as `RNN_ERROR_*`.
  public enum Code: Sendable {
    case invalidArgument
    case invalidHandle
    case bufferTooSmall
    case shape
    case dtype
    case outOfMemory
    case io
    case format
    case unsupported
    case busy
    case notFound
  }

  public let code: Code
  public let message: String

  public init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  public var description: String { message }
}
