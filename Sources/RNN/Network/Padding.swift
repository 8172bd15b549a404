import RNNKernels

/// What the output holds at steps that a row does not have: past its length, or where its mask is 0.
public enum Padding: Equatable, Sendable {
  case value(Double)
  /// The row's output of the step before; 0 before the first.
  case repeatsLast

  func check() throws(RNNError) {
    if case .value(let value) = self, value.isNaN { throw RNNError(.invalidArgument, "padding_value is NaN") }
  }

  /// Fills an output [T, N, O], which has zeros there.
  func fill<Scalar: KernelScalar>(
    _ output: UnsafeMutablePointer<Scalar>, _ batch: SequenceBatch, _ architecture: Architecture
  ) {
    guard batch.isRagged, self != .value(0) else { return }
    let width = architecture.outputSize, step = batch.rowCount &* width
    for n in 0..<batch.rowCount {
      for t in 0..<batch.stepCount where !batch.hasOutput(step: t, row: n, architecture) {
        let line = output + (t &* batch.rowCount &+ n) &* width
        switch self {
        case .value(let value): line.update(repeating: Scalar(value), count: width)
        case .repeatsLast: if t > 0 { line.update(from: line - step, count: width) }
        }
      }
    }
  }

  /// The backward of `fill`, on ∂L/∂output: what repeats a step gives that step its gradient.
  func fillBack<Scalar: KernelScalar>(
    _ gradient: UnsafeMutablePointer<Scalar>, _ batch: SequenceBatch, _ architecture: Architecture
  ) {
    guard batch.isRagged, self == .repeatsLast else { return }
    let width = architecture.outputSize, step = batch.rowCount &* width
    for n in 0..<batch.rowCount {
      for t in (1..<max(batch.stepCount, 1)).reversed() where !batch.hasOutput(step: t, row: n, architecture) {
        let line = gradient + (t &* batch.rowCount &+ n) &* width
        for j in 0..<width { line[j - step] = line[j - step] + line[j] }
      }
    }
  }
}

extension SequenceBatch {
  /// Whether the network computes an output for this step. A reversal at the end turns a masked row around as a whole; of a
  /// row with a length it keeps the place.
  func hasOutput(step t: Int, row n: Int, _ architecture: Architecture) -> Bool {
    isActive(step: mask != nil && architecture.reversesAtItsEnd ? stepCount &- 1 &- t : t, row: n)
  }

  /// Zeros the states of rows without any step.
  func clearEmptyRows<Scalar: KernelScalar>(_ state: UnsafeMutablePointer<Scalar>, _ architecture: Architecture) {
    for n in 0..<rowCount where lastStep(ofRow: n) < 0 {
      for slot in architecture.states {
        let size = slot.shape[2]
        for layer in 0..<slot.shape[0] {
          let place = slot.offset &* rowCount &+ (layer &* rowCount &+ n) &* size
          (state + place).update(repeating: 0, count: size)
        }
      }
    }
  }
}
