import RNNKernels
import Synchronization

/// Memory of passes that are over, for the passes to come, or of weights that were replaced, for those that replace them: a loop of
/// training steps would otherwise ask the system for the same megabytes again and again, and wait while it clears them.
///
/// At most two buffers are kept, those given back last: a tape's and a backward pass's.
final class PassMemory<Scalar: KernelScalar>: Sendable {
  private let kept = Mutex<[AlignedBuffer<Scalar>]>([])
  private static var keptCount: Int { 2 }

  /// A buffer of at least `count` elements, and not many more; what is in it is unspecified. It comes back when the loan is released.
  func lend(count: Int, for purpose: @autoclosure () -> String) throws(RNNError) -> MemoryLoan<Scalar> {
    let found = kept.withLock { kept -> AlignedBuffer<Scalar>? in
      let fitting = kept.indices.filter { kept[$0].count >= count && kept[$0].count / 2 <= count }
      guard let best = fitting.min(by: { kept[$0].count < kept[$1].count }) else { return nil }
      return kept.remove(at: best)
    }
    // `??` would forget the type of the error.
    if let found { return MemoryLoan(found, of: self) }
    return MemoryLoan(try makeBuffer(Scalar.self, count: count, for: purpose()), of: self)
  }

  fileprivate func takeBack(_ buffer: AlignedBuffer<Scalar>) {
    // What is replaced is freed outside of the lock.
    let replaced = kept.withLock { kept -> AlignedBuffer<Scalar>? in
      kept.append(buffer)
      return kept.count > Self.keptCount ? kept.removeFirst() : nil
    }
    withExtendedLifetime(replaced) {}
  }
}

/// A buffer in use.
final class MemoryLoan<Scalar: KernelScalar>: Sendable {
  let buffer: AlignedBuffer<Scalar>
  private let owner: PassMemory<Scalar>
  var baseAddress: UnsafeMutablePointer<Scalar> { buffer.baseAddress }

  fileprivate init(_ buffer: AlignedBuffer<Scalar>, of owner: PassMemory<Scalar>) {
    self.buffer = buffer
    self.owner = owner
  }

  deinit { owner.takeBack(buffer) }
}
