/// How a fused step lays out gates: units in panels of one vector, in each panel the gates side by side (see `FusedArguments`).
///
/// The layout is private to the instruction set. What is past the last unit is zero.
@frozen
public struct FusedLayout: Sendable {
  /// H and G.
  public let units, gates: Int
  /// Units in a panel.
  public let width: Int

  @inlinable
  public init(units: Int, gates: Int, width: Int) {
    self.units = units
    self.gates = gates
    self.width = width
  }

  @inlinable public var panelCount: Int { (units &+ width &- 1) / width }
  /// Elements of a row of sums: G · H with padding.
  @inlinable public var rowWidth: Int { panelCount &* gates &* width }
  /// Elements of a row of the state: H with padding.
  @inlinable public var stateWidth: Int { panelCount &* width }

  /// Where the sum of a gate and unit is in a row.
  @inlinable
  func place(gate: Int, unit: Int) -> Int { (unit / width &* gates &+ gate) &* width &+ unit % width }

  /// Upper bounds of `rowWidth` and `stateWidth` on any instruction set and in any precision, for planning memory.
  public static func largestStateWidth(units: Int) -> Int { (units &+ 15) & ~15 }

  /// Brings rows [G · H, columns], gate by gate, into the order of the sums: [rowWidth, columns].
  public func interleave<Scalar: KernelScalar>(
    _ source: UnsafePointer<Scalar>, columns: Int, into target: UnsafeMutablePointer<Scalar>
  ) {
    target.update(repeating: 0, count: rowWidth &* columns)
    for gate in 0..<gates {
      for unit in 0..<units {
        (target + place(gate: gate, unit: unit) &* columns).update(
          from: source + (gate &* units &+ unit) &* columns, count: columns)
      }
    }
  }

  /// Packs weights [G · H, depth] of this layout's gates: [panels, depth, G, width].
  public func pack<Scalar: KernelScalar>(
    _ source: UnsafePointer<Scalar>, depth: Int, into panels: UnsafeMutablePointer<Scalar>
  ) {
    panels.update(repeating: 0, count: rowWidth &* depth)
    forEachRow { place, row in
      let from = source + row &* depth
      let column = panels + (place.panel &* depth &* lineWidth &+ place.column)
      for k in 0..<depth { column[k &* lineWidth] = from[k] }
    }
  }

  /// The same as bfloat16: [panels, ⌈depth / 2⌉, G, width] words, with k in the low halves and k + 1 in the high ones.
  public func packWords(_ source: UnsafePointer<Float>, depth: Int, into panels: UnsafeMutablePointer<Float>) {
    let lines = FusedLayout.wordLines(depth)
    panels.update(repeating: 0, count: rowWidth &* lines)
    forEachRow { place, row in
      let from = source + row &* depth
      let column = panels + (place.panel &* lines &* lineWidth &+ place.column)
      for line in 0..<lines {
        let high = 2 &* line &+ 1 < depth ? from[2 &* line &+ 1].bfloat16Bits : 0
        column[line &* lineWidth] = Float(bitPattern: from[2 &* line].bfloat16Bits | high << 16)
      }
    }
  }

  /// Lines of words for so many lines of weights.
  public static func wordLines(_ depth: Int) -> Int { (depth &+ 1) / 2 }

  private var lineWidth: Int { gates &* width }

  /// Calls `body` with the place in the panels of each row of a weight matrix.
  private func forEachRow(_ body: (_ place: (panel: Int, column: Int), _ row: Int) -> Void) {
    for gate in 0..<gates {
      for unit in 0..<units {
        body((unit / width, gate &* width &+ unit % width), gate &* units &+ unit)
      }
    }
  }
}

extension Float {
  /// The nearest bfloat16, ties to even; NaN stays NaN.
  var bfloat16Bits: UInt32 {
    if isNaN { return bitPattern >> 16 | 0x40 }
    return (bitPattern &+ 0x7fff &+ (bitPattern >> 16 & 1)) >> 16
  }
}
