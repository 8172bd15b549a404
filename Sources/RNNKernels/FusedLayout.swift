/// How a fused step lays out gates: units in panels of one vector, in each panel the gates side by side (see `FusedArguments`). Where few
/// units are left for the last panel, it is one of half a vector.
///
/// The layout is private to the instruction set. What is past the last unit is zero.
@frozen
public struct FusedLayout: Sendable {
  /// H and G.
  public let units, gates: Int
  /// Units in a panel, and in one of half a vector; 0 where there are none.
  public let width, halfWidth: Int

  public init<Scalar: KernelScalar>(units: Int, gates: Int, _ kernels: borrowing KernelTable<Scalar>) {
    self.init(units: units, gates: gates, width: kernels.vectorWidth, halfWidth: kernels.halfWidth)
  }

  private init(units: Int, gates: Int, width: Int, halfWidth: Int) {
    self.units = units
    self.gates = gates
    self.width = width
    self.halfWidth = halfWidth
  }

  /// The same units with other gates.
  public func with(gates: Int) -> FusedLayout { FusedLayout(units: units, gates: gates, width: width, halfWidth: halfWidth) }

  public var panelCount: Int { (units &+ width &- 1) / width }
  public var hasHalfPanel: Bool { (1..<halfWidth &+ 1).contains(units % width) }
  public var wholePanelCount: Int { hasHalfPanel ? panelCount &- 1 : panelCount }
  /// Elements of a row of sums: G · H with padding, a multiple of the width.
  public var rowWidth: Int {
    let half = hasHalfPanel ? (gates &* halfWidth &+ width &- 1) / width &* width : 0
    return wholePanelCount &* gates &* width &+ half
  }
  /// Elements of a row of the state: H with padding.
  public var stateWidth: Int { panelCount &* width }

  /// Where the first unit of a panel is, and how many it has room for.
  private func panel(of unit: Int) -> (first: Int, width: Int) {
    let first = unit / width &* width
    return (first, hasHalfPanel && first == wholePanelCount &* width ? halfWidth : width)
  }

  /// Where the sum of a gate and unit is in a row; or, in panels of so many lines, its first element.
  func place(gate: Int, unit: Int, lines: Int = 1) -> Int {
    let panel = panel(of: unit)
    return panel.first &* gates &* lines &+ gate &* panel.width &+ unit &- panel.first
  }

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
    forEachRow(lines: depth) { place, lineWidth, row in
      let from = source + row &* depth
      for k in 0..<depth { panels[place &+ k &* lineWidth] = from[k] }
    }
  }

  /// The same as bfloat16: [panels, ⌈depth / 2⌉, G, width] words, with k in the low halves and k + 1 in the high ones.
  public func packWords(_ source: UnsafePointer<Float>, depth: Int, into panels: UnsafeMutablePointer<Float>) {
    let lines = FusedLayout.wordLines(depth)
    panels.update(repeating: 0, count: rowWidth &* lines)
    forEachRow(lines: lines) { place, lineWidth, row in
      let from = source + row &* depth
      for line in 0..<lines {
        let high = 2 &* line &+ 1 < depth ? from[2 &* line &+ 1].bfloat16Bits : 0
        panels[place &+ line &* lineWidth] = Float(bitPattern: from[2 &* line].bfloat16Bits | high << 16)
      }
    }
  }

  /// Lines of words for so many lines of weights.
  public static func wordLines(_ depth: Int) -> Int { (depth &+ 1) / 2 }

  /// Calls `body` for each row of a weight matrix, with the place in the panels of its first element, and how far the next ones are.
  private func forEachRow(lines: Int, _ body: (_ place: Int, _ lineWidth: Int, _ row: Int) -> Void) {
    for gate in 0..<gates {
      for unit in 0..<units {
        body(place(gate: gate, unit: unit, lines: lines), gates &* panel(of: unit).width, gate &* units &+ unit)
      }
    }
  }
}

extension FusedArguments {
  /// Panels that threads can share.
  public var sharedPanelCount: Int { panelCount &+ (hasHalfPanel ? 1 : 0) }

  /// The share of a thread that has panels of its own.
  public func panels(part: Int, parts: Int) -> Self {
    let all = sharedPanelCount
    let own = slice(of: all, part: part, parts: parts, unit: 1)
    var result = self
    result.firstPanel = own.lowerBound
    result.hasHalfPanel = hasHalfPanel && own.upperBound == all && !own.isEmpty
    result.panelCount = own.count &- (result.hasHalfPanel ? 1 : 0)
    return result
  }
}

extension Float {
  /// The nearest bfloat16, ties to even; NaN stays NaN.
  var bfloat16Bits: UInt32 {
    if isNaN { return bitPattern >> 16 | 0x40 }
    return (bitPattern &+ 0x7fff &+ (bitPattern >> 16 & 1)) >> 16
  }
}
