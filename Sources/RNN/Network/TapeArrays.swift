import RNNKernels

/// The arrays that a tape lets one read: h, c and the gates of every step, for inspection and for what is built outside on top
/// of them, such as attention.
extension Tape {
  private enum Kind: CaseIterable {
    case hidden, cell, gates

    var name: String {
      switch self {
      case .hidden: "h"
      case .cell: "c"
      case .gates: "gates"
      }
    }
  }

  private struct Source {
    let kind: Kind
    /// Place in the lists of layers and traces.
    let layer: Int
  }

  /// Names and shapes: NODE.h_lK and NODE.c_lK [T, N, size], NODE.gates_lK [T, N, G, H], with the suffix _reverse for the backward
  /// direction of a bidirectional node.
  public var arrays: [TensorSlot] { entries.map(\.slot) }

  private var entries: [(slot: TensorSlot, source: Source)] {
    var result: [(slot: TensorSlot, source: Source)] = []
    let architecture = network.architecture
    var offset = 0
    for (index, node) in architecture.nodes.enumerated() {
      guard case .recurrent(let configuration) = node.operation else { continue }
      for layer in 0..<configuration.layerCount {
        for direction in 0..<configuration.directionCount {
          let suffix = "_l\(layer)" + (direction == 1 ? "_reverse" : "")
          let place = architecture.firstLayer[index] + layer * configuration.directionCount + direction
          let hidden = configuration.hiddenSize(direction: direction)
          for kind in Kind.allCases where kind != .cell || configuration.cell.hasCellState {
            let shape =
              switch kind {
              case .hidden: [stepCount, batchSize, configuration.stateSize(direction: direction)]
              case .cell: [stepCount, batchSize, hidden]
              case .gates: [stepCount, batchSize, configuration.cell.gateCount, hidden]
              }
            // The pass has memory for more than each of them: nothing overflows.
            let count = shape.reduce(1, *)
            result.append(
              (
                TensorSlot(name: "\(node.name).\(kind.name)\(suffix)", offset: offset, shape: shape, count: count),
                Source(kind: kind, layer: place)
              ))
            offset += count
          }
        }
      }
    }
    return result
  }

  /// Copies an array of `arrays` out, by the time of the input. At steps that a row does not have, h and c are the state that
  /// stays there, and gates are 0.
  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  public func read<Scalar: KernelScalar>(
    _ name: String, into target: UnsafeMutableBufferPointer<Scalar>
  ) throws(RNNError) {
    let contents = try contents(Scalar.self, of: network)
    let entries = entries
    guard let entry = entries.first(where: { $0.slot.name == name }) else {
      throw RNNError(
        .notFound, "the tape has no array \(quoted(name)); there are \(entries.map { "'\($0.slot.name)'" }.joined(separator: ", "))")
    }
    guard target.count >= entry.slot.count else {
      throw RNNError(.bufferTooSmall, "values_count is \(target.count), and '\(name)' has \(entry.slot.count)")
    }
    guard let base = target.baseAddress else { return }
    let weights = contents.weights.layers[entry.source.layer]
    let trace = contents.workspace.traces[entry.source.layer]
    let batch = contents.batch, n = contents.rowCount
    // After step t: one slot later, but for a reverse layer.
    let shift = weights.stateSlots(0).after
    switch entry.source.kind {
    case .hidden: base.update(from: trace.hidden + shift &* n &* weights.stateSize, count: entry.slot.count)
    case .cell: base.update(from: trace.cell + shift &* n &* weights.hiddenSize, count: entry.slot.count)
    case .gates:
      let width = weights.gateWidth
      for t in 0..<contents.stepCount {
        for row in 0..<n {
          let line = base + (t &* n &+ row) &* width
          if batch.isActive(step: t, row: row) {
            line.update(from: weights.gateValues(batch, trace, step: t, row: row), count: width)
          } else {
            line.update(repeating: 0, count: width)
          }
        }
      }
    }
  }
}
