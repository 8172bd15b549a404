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

  /// Packs the recurrent weights [G · H, H] of this layout's gates: [panels, H, G, width].
  public func pack<Scalar: KernelScalar>(_ source: UnsafePointer<Scalar>, into panels: UnsafeMutablePointer<Scalar>) {
    let lineWidth = gates &* width
    panels.update(repeating: 0, count: rowWidth &* units)
    for gate in 0..<gates {
      for unit in 0..<units {
        let row = source + (gate &* units &+ unit) &* units
        let column = panels + (unit / width &* units &* lineWidth &+ gate &* width &+ unit % width)
        for k in 0..<units { column[k &* lineWidth] = row[k] }
      }
    }
  }
}
