import CRNNSupport

// A recurrent layer over time, fused: the recurrent product of a few units and the gates that follow from it, unit by unit, so that sums
// never leave the first-level cache. Each sum has the order of the unfused product (docs/contract.md), each gate the same
// operations: the results are those of the unfused kernels, bit for bit, which is how they are tested.
//
// Units go in groups of one vector. A panel has the weights of one group, [depth, gates, width]: one line for each k, with the
// gates side by side. So has X W_x + b, [steps, rows, panels, gates, width]. Whatever is past the last unit is zero, and stays zero.
// The last group may be one of half a vector (`KernelTarget.Half`): its panel lies behind the others, with lines of half the length.
//
// A single row may bring X itself: then each tile begins with its part of X W_x + b, so that a panel's weights of both products are read
// one after the other, and going to and fro keeps half of both in a cache that they exceed.

/// The sums of one panel for one row: one, two, three or four vectors side by side, and the register tiles that are made of them.
public protocol FusedShape {
  associatedtype Columns: ColumnTile
  /// Rows at once, for sums of one chain: as many accumulators as there are registers.
  associatedtype LargeRows: RowTile where LargeRows.Columns == Columns
  /// Rows at once where there are fewer, and for sums of two chains.
  associatedtype SmallRows: RowTile where SmallRows.Columns == Columns
  typealias Scalar = Columns.Target.Scalar
  /// Panels of one row at once, so that its sums do not wait for themselves: 2, 4 or 8; half of it for two chains.
  static var panelCount: Int { get }
  /// The same where weights come from beyond the first-level cache, which is then what sums wait for: fewer, so that the tile that
  /// was read last is still there when the next step begins with it.
  static var distantPanelCount: Int { get }
  /// The sums' first terms: of X W_x + b, and what `bias` has for these units.
  static func start(_ x: UnsafePointer<Scalar>, _ bias: UnsafePointer<Scalar>) -> Columns
}

extension FusedShape {
  @inlinable @inline(__always) static var lineWidth: Int { Columns.vectors &* Columns.Target.width }
  @inlinable @inline(__always)
  public static func start(_ x: UnsafePointer<Scalar>, _ bias: UnsafePointer<Scalar>) -> Columns { Columns(x) }
}

/// Bytes of a first-level cache, of which some are smaller.
@usableFromInline let firstLevelCacheSize = 32768

public typealias FourColumns<Target: KernelTarget> = Beside<TwoColumns<Target>, TwoColumns<Target>>

public enum FourSums<T: KernelTarget, LargeRows: RowTile>: FusedShape where LargeRows.Columns == FourColumns<T> {
  public typealias Columns = FourColumns<T>
  public typealias SmallRows = TwoRows<Columns>
  @inlinable @inline(__always) public static var panelCount: Int { 2 }
  @inlinable @inline(__always) public static var distantPanelCount: Int { 1 }
}

/// X W_x + b of a GRU.
public enum ThreeInputSums<T: KernelTarget>: FusedShape {
  public typealias Columns = ThreeColumns<T>
  public typealias LargeRows = TwoRows<Columns>
  public typealias SmallRows = TwoRows<Columns>
  @inlinable @inline(__always) public static var panelCount: Int { 2 }
  @inlinable @inline(__always) public static var distantPanelCount: Int { 2 }
}

/// The third begins with the bias.
public enum ThreeSums<T: KernelTarget, LargeRows: RowTile>: FusedShape where LargeRows.Columns == ThreeColumns<T> {
  public typealias Columns = ThreeColumns<T>
  public typealias SmallRows = TwoRows<Columns>
  @inlinable @inline(__always) public static var panelCount: Int { T.tileRows >= 8 ? 4 : 2 }
  @inlinable @inline(__always) public static var distantPanelCount: Int { 2 }
  @inlinable @inline(__always)
  public static func start(_ x: UnsafePointer<T.Scalar>, _ bias: UnsafePointer<T.Scalar>) -> Columns {
    Columns(first: OneColumn(x), rest: TwoColumns(first: OneColumn(x + T.width), rest: OneColumn(bias)))
  }
}

public enum TwoSums<T: KernelTarget, LargeRows: RowTile>: FusedShape where LargeRows.Columns == TwoColumns<T> {
  public typealias Columns = TwoColumns<T>
  public typealias SmallRows = TwoRows<Columns>
  @inlinable @inline(__always) public static var panelCount: Int { 4 }
  @inlinable @inline(__always) public static var distantPanelCount: Int { 2 }
}

public enum OneSum<T: KernelTarget>: FusedShape {
  public typealias Columns = OneColumn<T>
  public typealias LargeRows = EightRows<Columns>
  public typealias SmallRows = FourRows<Columns>
  @inlinable @inline(__always) public static var panelCount: Int { 8 }
  @inlinable @inline(__always) public static var distantPanelCount: Int { 4 }
}

/// What one pass over the panels computes: its operands, and what follows from its sums.
public protocol FusedPass {
  associatedtype Shape: FusedShape
  /// The sums of X W_x + b that begin with this pass.
  associatedtype InputShape: FusedShape where InputShape.Scalar == Shape.Scalar
  /// Whether they do, or an earlier pass of the step has computed them.
  static var beginsWithInput: Bool { get }
  typealias Scalar = Shape.Scalar
  static func weight(_ a: UnsafePointer<FusedArguments<Scalar>>) -> UnsafePointer<Scalar>
  /// What is multiplied: [rows, depth], with the rows `stateStride` apart.
  static func input(_ a: UnsafePointer<FusedArguments<Scalar>>) -> UnsafePointer<Scalar>
  /// The sums of a unit in X W_x + b, and the first of them that is this pass's.
  static var gateCount: Int { get }
  static var firstGate: Int { get }
  /// Gates and state of one vector of units. `x` is at the panel's first gate.
  static func finish(_ sums: Shape.Columns, _ x: UnsafePointer<Scalar>, _ a: UnsafePointer<FusedArguments<Scalar>>, element: Int)
}

extension FusedPass {
  @inlinable @inline(__always) public static var gateCount: Int { 3 }
  @inlinable @inline(__always) public static var firstGate: Int { 0 }
  /// From panel to panel in X W_x + b.
  @inlinable @inline(__always) static var xPanelStride: Int { gateCount &* Shape.Columns.Target.width }
  @inlinable @inline(__always) public static var beginsWithInput: Bool { true }
  @inlinable @inline(__always) public static func weight(_ a: UnsafePointer<FusedArguments<Scalar>>) -> UnsafePointer<Scalar> { a.pointee.weight }
  @inlinable @inline(__always)
  public static func input(_ a: UnsafePointer<FusedArguments<Scalar>>) -> UnsafePointer<Scalar> { UnsafePointer(a.pointee.hidden) }
}

/// i, f, g, o.
public enum FusedLSTM<T: KernelTarget, LargeRows: RowTile>: FusedPass where LargeRows.Columns == FourColumns<T> {
  public typealias Shape = FourSums<T, LargeRows>
  public typealias InputShape = Shape
  @inlinable @inline(__always) public static var gateCount: Int { 4 }

  @inlinable @inline(__always)
  public static func finish(_ sums: Shape.Columns, _ x: UnsafePointer<T.Scalar>, _ a: UnsafePointer<FusedArguments<T.Scalar>>, element: Int) {
    let i = T.sigmoid(sums.first.first.v)
    let f = T.sigmoid(sums.first.rest.v)
    let g = T.tanh(sums.rest.first.v)
    let o = T.sigmoid(sums.rest.rest.v)
    let cell = a.pointee.cell + element
    let c = f * T.load(UnsafePointer(cell)) + i * g
    T.store(c, cell)
    T.store(o * T.tanh(c), a.pointee.nextHidden + element)
  }
}

/// r, z, and Q = H W_hh + b_hh.
public enum FusedGRUAfter<T: KernelTarget, LargeRows: RowTile>: FusedPass where LargeRows.Columns == ThreeColumns<T> {
  public typealias Shape = ThreeSums<T, LargeRows>
  public typealias InputShape = ThreeInputSums<T>

  @inlinable @inline(__always)
  public static func finish(_ sums: Shape.Columns, _ x: UnsafePointer<T.Scalar>, _ a: UnsafePointer<FusedArguments<T.Scalar>>, element: Int) {
    let r = T.sigmoid(sums.first.v)
    let z = T.sigmoid(sums.rest.first.v)
    let n = T.tanh(T.load(x + 2 &* T.width) + r * sums.rest.rest.v)
    let next = z * T.load(UnsafePointer(a.pointee.hidden) + element) + (T.Vector(repeating: 1) - z) * n
    T.store(next, a.pointee.nextHidden + element)
  }
}

/// r and z of the reset-before variant: leaves R ⊙ H in `term` and Z in `update`.
public enum FusedGRUBeforeGates<T: KernelTarget, LargeRows: RowTile>: FusedPass where LargeRows.Columns == TwoColumns<T> {
  public typealias Shape = TwoSums<T, LargeRows>
  public typealias InputShape = ThreeInputSums<T>

  @inlinable @inline(__always)
  public static func finish(_ sums: Shape.Columns, _ x: UnsafePointer<T.Scalar>, _ a: UnsafePointer<FusedArguments<T.Scalar>>, element: Int) {
    let r = T.sigmoid(sums.first.v)
    T.store(r * T.load(UnsafePointer(a.pointee.hidden) + element), a.pointee.term + element)
    T.store(T.sigmoid(sums.rest.v), a.pointee.update + element)
  }
}

/// The candidate of the reset-before variant, and the new state.
public enum FusedGRUBeforeCandidate<T: KernelTarget>: FusedPass {
  public typealias Shape = OneSum<T>
  public typealias InputShape = OneSum<T>
  @inlinable @inline(__always) public static var beginsWithInput: Bool { false }
  @inlinable @inline(__always)
  public static func weight(_ a: UnsafePointer<FusedArguments<T.Scalar>>) -> UnsafePointer<T.Scalar> { a.pointee.candidateWeight }
  @inlinable @inline(__always) public static var firstGate: Int { 2 }
  @inlinable @inline(__always)
  public static func input(_ a: UnsafePointer<FusedArguments<T.Scalar>>) -> UnsafePointer<T.Scalar> { UnsafePointer(a.pointee.term) }

  @inlinable @inline(__always)
  public static func finish(_ sums: Shape.Columns, _ x: UnsafePointer<T.Scalar>, _ a: UnsafePointer<FusedArguments<T.Scalar>>, element: Int) {
    let n = T.tanh(sums.v)
    let z = T.load(UnsafePointer(a.pointee.update) + element)
    let next = z * T.load(UnsafePointer(a.pointee.hidden) + element) + (T.Vector(repeating: 1) - z) * n
    T.store(next, a.pointee.nextHidden + element)
  }
}

/// The vanilla cell.
public enum FusedVanilla<T: KernelTarget>: FusedPass {
  public typealias Shape = OneSum<T>
  public typealias InputShape = OneSum<T>
  @inlinable @inline(__always) public static var gateCount: Int { 1 }

  @inlinable @inline(__always)
  public static func finish(_ sums: Shape.Columns, _ x: UnsafePointer<T.Scalar>, _ a: UnsafePointer<FusedArguments<T.Scalar>>, element: Int) {
    T.store(a.pointee.cellKind == .vanillaRelu ? T.relu(sums.v) : T.tanh(sums.v), a.pointee.nextHidden + element)
  }
}

// MARK: - Sums

/// Accumulators of one or more rows (one panel), or of one or more panels (one row).
public protocol FusedSums {
  associatedtype Shape: FusedShape
  typealias Scalar = Shape.Scalar
  /// The first terms of a tile's sums, and of their second chain.
  init(_ o: borrowing FusedOperands<Scalar>)
  static func zero(_ o: borrowing FusedOperands<Scalar>) -> Self
  /// Adds input · line; others than the first are `inputStride` and `weightStride` further, of which one is 0.
  mutating func addProduct(_ input: UnsafePointer<Scalar>, inputStride: Int, _ line: UnsafePointer<Scalar>, weightStride: Int)
  mutating func add(_ other: Self)
  func store(_ sums: UnsafeMutablePointer<Scalar>)
  /// Rows or panels.
  static var count: Int { get }
}

/// Rows of one panel: the line is loaded once.
@frozen
public struct RowSums<Rows: RowTile, Shape: FusedShape>: FusedSums where Rows.Columns == Shape.Columns {
  @usableFromInline var rows: Rows
  @inlinable @inline(__always) init(rows: Rows) { self.rows = rows }
  @inlinable @inline(__always) public static func zero(_ o: borrowing FusedOperands<Scalar>) -> Self { Self(rows: .zero) }
  @inlinable @inline(__always) public static var count: Int { Rows.count }
  @inlinable @inline(__always)
  public init(_ o: borrowing FusedOperands<Scalar>) { rows = Rows(Shape.self, o.x, stride: o.xStride, o.bias) }
  @inlinable @inline(__always)
  public mutating func addProduct(
    _ input: UnsafePointer<Scalar>, inputStride: Int, _ line: UnsafePointer<Scalar>, weightStride: Int
  ) {
    rows.addProduct(input, stride: inputStride, Shape.Columns(line))
  }
  @inlinable @inline(__always) public mutating func add(_ other: Self) { rows.add(other.rows) }
  @inlinable @inline(__always)
  public func store(_ sums: UnsafeMutablePointer<Scalar>) { rows.store(sums, stride: Shape.lineWidth) }
}

/// Sums of one row, whose weights may be words.
public protocol FusedOneRowSums: FusedSums {
  /// Adds input[0] times the low halves of a line of words, and then input[1] times the high ones.
  mutating func addProducts(_ low: Scalar, _ high: Scalar, words: UnsafePointer<Scalar>, weightStride: Int)
}

/// Sums that become gates without going through memory: of so few panels that one row waits for every step on the way.
public protocol FusedPanelSums: FusedOneRowSums {
  static var zero: Self { get }
  /// Others than the first are `xStride` and `biasStride` further.
  init(_ x: UnsafePointer<Scalar>, xStride: Int, _ bias: UnsafePointer<Scalar>, biasStride: Int)
  /// The gates of all panels but the first `known`.
  func finish<Pass: FusedPass>(
    _ pass: Pass.Type, _ a: UnsafePointer<FusedArguments<Scalar>>, _ x: UnsafePointer<Scalar>, xStride: Int, element: Int, known: Int
  ) where Pass.Shape == Shape
}

extension FusedPanelSums {
  @inlinable @inline(__always)
  public init(_ o: borrowing FusedOperands<Scalar>) { self.init(o.x, xStride: o.xStride, o.bias, biasStride: o.biasStride) }
  @inlinable @inline(__always) public static func zero(_ o: borrowing FusedOperands<Scalar>) -> Self { zero }
}

/// One panel of one row.
@frozen
public struct PanelSum<Shape: FusedShape>: FusedPanelSums {
  @usableFromInline var columns: Shape.Columns
  @inlinable @inline(__always) init(columns: Shape.Columns) { self.columns = columns }
  @inlinable @inline(__always) public static var zero: Self { Self(columns: .zero) }
  @inlinable @inline(__always) public static var count: Int { 1 }
  @inlinable @inline(__always)
  public init(_ x: UnsafePointer<Scalar>, xStride: Int, _ bias: UnsafePointer<Scalar>, biasStride: Int) {
    columns = Shape.start(x, bias)
  }
  @inlinable @inline(__always)
  public mutating func addProduct(
    _ input: UnsafePointer<Scalar>, inputStride: Int, _ line: UnsafePointer<Scalar>, weightStride: Int
  ) {
    columns.addProduct(Shape.Columns.Target.Vector(repeating: input.pointee), Shape.Columns(line))
  }
  @inlinable @inline(__always)
  public mutating func addProducts(_ low: Scalar, _ high: Scalar, words: UnsafePointer<Scalar>, weightStride: Int) {
    typealias Vector = Shape.Columns.Target.Vector
    columns.addProducts(Vector(repeating: low), Vector(repeating: high), words: words)
  }
  @inlinable @inline(__always) public mutating func add(_ other: Self) { columns.add(other.columns) }
  @inlinable @inline(__always) public func store(_ sums: UnsafeMutablePointer<Scalar>) { columns.store(sums) }
  @inlinable @inline(__always)
  public func finish<Pass: FusedPass>(
    _ pass: Pass.Type, _ a: UnsafePointer<FusedArguments<Scalar>>, _ x: UnsafePointer<Scalar>, xStride: Int, element: Int, known: Int
  ) where Pass.Shape == Shape {
    if known <= 0 { Pass.finish(columns, x, a, element: element) }
  }
}

/// Panels of one row, side by side.
@frozen
public struct PanelSums<Half: FusedPanelSums>: FusedPanelSums {
  public typealias Shape = Half.Shape
  @usableFromInline var first: Half
  @usableFromInline var second: Half
  @inlinable @inline(__always) init(first: Half, second: Half) { self.first = first; self.second = second }
  @inlinable @inline(__always) public static var zero: Self { Self(first: .zero, second: .zero) }
  @inlinable @inline(__always) public static var count: Int { 2 &* Half.count }
  @inlinable @inline(__always)
  public init(_ x: UnsafePointer<Scalar>, xStride: Int, _ bias: UnsafePointer<Scalar>, biasStride: Int) {
    first = Half(x, xStride: xStride, bias, biasStride: biasStride)
    second = Half(x + Half.count &* xStride, xStride: xStride, bias + Half.count &* biasStride, biasStride: biasStride)
  }
  @inlinable @inline(__always)
  public mutating func addProduct(
    _ input: UnsafePointer<Scalar>, inputStride: Int, _ line: UnsafePointer<Scalar>, weightStride: Int
  ) {
    first.addProduct(input, inputStride: inputStride, line, weightStride: weightStride)
    second.addProduct(input, inputStride: inputStride, line + Half.count &* weightStride, weightStride: weightStride)
  }
  @inlinable @inline(__always)
  public mutating func addProducts(_ low: Scalar, _ high: Scalar, words: UnsafePointer<Scalar>, weightStride: Int) {
    first.addProducts(low, high, words: words, weightStride: weightStride)
    second.addProducts(low, high, words: words + Half.count &* weightStride, weightStride: weightStride)
  }
  @inlinable @inline(__always)
  public mutating func add(_ other: Self) {
    first.add(other.first)
    second.add(other.second)
  }
  @inlinable @inline(__always)
  public func store(_ sums: UnsafeMutablePointer<Scalar>) {
    first.store(sums)
    second.store(sums + Half.count &* Shape.lineWidth)
  }
  @inlinable @inline(__always)
  public func finish<Pass: FusedPass>(
    _ pass: Pass.Type, _ a: UnsafePointer<FusedArguments<Scalar>>, _ x: UnsafePointer<Scalar>, xStride: Int, element: Int, known: Int
  ) where Pass.Shape == Shape {
    first.finish(Pass.self, a, x, xStride: xStride, element: element, known: known)
    second.finish(
      Pass.self, a, x + Half.count &* xStride, xStride: xStride,
      element: element &+ Half.count &* Shape.Columns.Target.width, known: known &- Half.count)
  }
}

/// Panels of one row and, to their right, one of half a vector. By itself it would wait for its sums: a step of each is ready every four
/// cycles, and it has no more than two cycles' work for them.
@frozen
public struct WithHalf<Panels: FusedPanelSums, Half: FusedPanelSums>: FusedOneRowSums where Half.Scalar == Panels.Scalar {
  public typealias Shape = Panels.Shape
  @usableFromInline var panels: Panels
  @usableFromInline var half: Half
  /// The first line of the first panel.
  @usableFromInline let firstLine: UnsafePointer<Scalar>
  @inlinable @inline(__always) public static var count: Int { Panels.count }
  @inlinable @inline(__always)
  init(panels: Panels, half: Half, firstLine: UnsafePointer<Scalar>) {
    self.panels = panels
    self.half = half
    self.firstLine = firstLine
  }
  @inlinable @inline(__always)
  public init(_ o: borrowing FusedOperands<Scalar>) {
    self.init(
      panels: Panels(o),
      half: Half(o.halfX, xStride: 0, o.bias + Panels.count &* o.biasStride, biasStride: 0),
      firstLine: o.weight)
  }
  @inlinable @inline(__always)
  public static func zero(_ o: borrowing FusedOperands<Scalar>) -> Self { Self(panels: .zero, half: .zero, firstLine: o.weight) }
  /// Its lines are half as long.
  @inlinable @inline(__always)
  func halfLine(_ line: UnsafePointer<Scalar>, weightStride: Int) -> UnsafePointer<Scalar> {
    firstLine + (Panels.count &* weightStride &+ (line - firstLine) &>> 1)
  }
  @inlinable @inline(__always)
  public mutating func addProduct(
    _ input: UnsafePointer<Scalar>, inputStride: Int, _ line: UnsafePointer<Scalar>, weightStride: Int
  ) {
    panels.addProduct(input, inputStride: inputStride, line, weightStride: weightStride)
    half.addProduct(input, inputStride: inputStride, halfLine(line, weightStride: weightStride), weightStride: 0)
  }
  @inlinable @inline(__always)
  public mutating func addProducts(_ low: Scalar, _ high: Scalar, words: UnsafePointer<Scalar>, weightStride: Int) {
    panels.addProducts(low, high, words: words, weightStride: weightStride)
    half.addProducts(low, high, words: halfLine(words, weightStride: weightStride), weightStride: 0)
  }
  @inlinable @inline(__always)
  public mutating func add(_ other: Self) {
    panels.add(other.panels)
    half.add(other.half)
  }
  @inlinable @inline(__always)
  public func store(_ sums: UnsafeMutablePointer<Scalar>) {
    panels.store(sums)
    half.store(sums + Panels.count &* Shape.lineWidth)
  }
}

/// The operands of one tile's sums.
@frozen
public struct FusedOperands<Scalar> {
  @usableFromInline var depth: Int
  @usableFromInline var x, bias, input, weight: UnsafePointer<Scalar>
  /// That of the panel of half a vector, where the tile has it.
  @usableFromInline var halfX: UnsafePointer<Scalar>
  @usableFromInline var xStride, biasStride, inputStride, weightStride: Int
  @usableFromInline var sums: UnsafeMutablePointer<Scalar>

  @inlinable @inline(__always)
  init(
    depth: Int, x: UnsafePointer<Scalar>, xStride: Int, bias: UnsafePointer<Scalar>, biasStride: Int,
    input: UnsafePointer<Scalar>, inputStride: Int, weight: UnsafePointer<Scalar>, weightStride: Int,
    sums: UnsafeMutablePointer<Scalar>
  ) {
    self.depth = depth
    self.x = x
    halfX = x
    self.xStride = xStride
    self.bias = bias
    self.biasStride = biasStride
    self.input = input
    self.inputStride = inputStride
    self.weight = weight
    self.weightStride = weightStride
    self.sums = sums
  }
}

extension FusedArguments where Scalar: KernelFloat {
  /// A constant where a scalar has no halves.
  @inlinable @inline(__always) var isWords: Bool { Scalar.halfWidth > 0 && isBFloat16 }
}

@_alwaysEmitIntoClient @inline(__always)
func fusedSums<Sums: FusedSums>(_ kind: Sums.Type, _ o: borrowing FusedOperands<Sums.Scalar>, twoChains: Bool) -> Sums {
  var input = o.input
  var line = o.weight
  var sums = Sums(o)
  var k = o.depth
  if twoChains {
    var odd = Sums.zero(o)
    while k >= 2 {
      sums.addProduct(input, inputStride: o.inputStride, line, weightStride: o.weightStride)
      odd.addProduct(
        input + 1, inputStride: o.inputStride, line + Sums.Shape.lineWidth, weightStride: o.weightStride)
      input += 2
      line += 2 &* Sums.Shape.lineWidth
      k &-= 2
    }
    if k == 1 { sums.addProduct(input, inputStride: o.inputStride, line, weightStride: o.weightStride) }
    sums.add(odd)
  } else {
    while k > 0 {
      sums.addProduct(input, inputStride: o.inputStride, line, weightStride: o.weightStride)
      input += 1
      line += Sums.Shape.lineWidth
      k &-= 1
    }
  }
  return sums
}

// Functions of their own, which several passes share: inlined everywhere they would make the object files four times as large.

@_alwaysEmitIntoClient @inline(never)
func storeFusedSumsOfOneChain<Sums: FusedSums>(_ kind: Sums.Type, _ o: borrowing FusedOperands<Sums.Scalar>) {
  fusedSums(Sums.self, o, twoChains: false).store(o.sums)
}

@_alwaysEmitIntoClient @inline(never)
func storeFusedSumsOfTwoChains<Sums: FusedSums>(_ kind: Sums.Type, _ o: borrowing FusedOperands<Sums.Scalar>) {
  fusedSums(Sums.self, o, twoChains: true).store(o.sums)
}

/// One chain, of weights as words.
@_alwaysEmitIntoClient @inline(never)
func storeFusedSumsOfWords<Sums: FusedOneRowSums>(_ kind: Sums.Type, _ o: borrowing FusedOperands<Sums.Scalar>) {
  var input = o.input
  var words = o.weight
  var sums = Sums(o)
  var k = o.depth
  while k >= 2 {
    sums.addProducts(input[0], input[1], words: words, weightStride: o.weightStride)
    input += 2
    words += Sums.Shape.lineWidth
    k &-= 2
  }
  if k == 1 { sums.addProducts(input[0], 0, words: words, weightStride: o.weightStride) }
  sums.store(o.sums)
}

// MARK: - One step

/// The gates that follow from sums: of some rows of one panel, or of some panels of one row.
@_alwaysEmitIntoClient @inline(never)
func fusedFinish<Pass: FusedPass>(
  _ pass: Pass.Type, _ a: UnsafePointer<FusedArguments<Pass.Scalar>>, _ sums: UnsafePointer<Pass.Scalar>, _ x: UnsafePointer<Pass.Scalar>,
  xStride: Int, element: Int, elementStride: Int, count: Int
) {
  var i = 0
  while i < count {
    Pass.finish(
      Pass.Shape.Columns(sums + i &* Pass.Shape.lineWidth), x + i &* xStride, a, element: element &+ i &* elementStride)
    i &+= 1
  }
}

/// The operands of a tile: of rows of one panel, or of panels of one row.
@_alwaysEmitIntoClient @inline(__always)
func fusedOperands<Pass: FusedPass>(
  _ pass: Pass.Type, _ a: UnsafePointer<FusedArguments<Pass.Scalar>>, _ x: UnsafePointer<Pass.Scalar>, row: Int, panel: Int,
  ofPanels: Bool
) -> FusedOperands<Pass.Scalar> {
  let width = Pass.Shape.Columns.Target.width
  let isWords = a.pointee.isWords
  let panelSize = (isWords ? (a.pointee.depth &+ 1) &>> 1 : a.pointee.depth) &* Pass.Shape.lineWidth
  return FusedOperands(
    depth: a.pointee.depth, x: x + Pass.firstGate &* width, xStride: ofPanels ? Pass.xPanelStride : a.pointee.xRowStride,
    bias: a.pointee.candidateBias + panel &* width, biasStride: ofPanels ? width : 0, input: Pass.input(a) + row &* a.pointee.stateStride,
    inputStride: ofPanels ? 0 : a.pointee.stateStride, weight: Pass.weight(a) + panel &* panelSize,
    weightStride: ofPanels ? panelSize : 0, sums: a.pointee.sums)
}

/// The same of a whole tile, but for its first `known`.
@_alwaysEmitIntoClient @inline(__always)
func fusedFinish<Pass: FusedPass>(
  _ pass: Pass.Type, _ a: UnsafePointer<FusedArguments<Pass.Scalar>>, _ x: UnsafePointer<Pass.Scalar>, xStride: Int, row: Int,
  panel: Int, ofPanels: Bool, known: Int, count: Int
) {
  let width = Pass.Shape.Columns.Target.width
  let elementStride = ofPanels ? width : a.pointee.stateStride
  fusedFinish(
    Pass.self, a, UnsafePointer(a.pointee.sums) + known &* Pass.Shape.lineWidth, x + known &* xStride, xStride: xStride,
    element: row &* a.pointee.stateStride &+ panel &* width &+ known &* elementStride, elementStride: elementStride,
    count: count &- known)
}

/// Sums of a tile, and the gates of all of them but the first `known`, which another tile has finished.
@_alwaysEmitIntoClient @inline(__always)
func fusedTile<Pass: FusedPass, Sums: FusedSums>(
  _ pass: Pass.Type, _ kind: Sums.Type, _ a: UnsafePointer<FusedArguments<Pass.Scalar>>, _ xStep: UnsafePointer<Pass.Scalar>, row: Int,
  panel: Int, ofPanels: Bool, known: Int, twoChains: Bool
) where Sums.Shape == Pass.Shape {
  let x = xStep + (row &* a.pointee.xRowStride &+ panel &* Pass.xPanelStride)
  let operands = fusedOperands(Pass.self, a, x, row: row, panel: panel, ofPanels: ofPanels)
  if twoChains {
    storeFusedSumsOfTwoChains(Sums.self, operands)
  } else {
    storeFusedSumsOfOneChain(Sums.self, operands)
  }
  fusedFinish(
    Pass.self, a, x, xStride: operands.xStride, row: row, panel: panel, ofPanels: ofPanels, known: known, count: Sums.count)
}

/// A tile of panels whose weights are words.
@_alwaysEmitIntoClient @inline(__always)
func fusedTileOfWords<Pass: FusedPass, Sums: FusedPanelSums>(
  _ pass: Pass.Type, _ kind: Sums.Type, _ a: UnsafePointer<FusedArguments<Pass.Scalar>>, _ xStep: UnsafePointer<Pass.Scalar>, row: Int,
  panel: Int, known: Int
) where Sums.Shape == Pass.Shape {
  let x = xStep + (row &* a.pointee.xRowStride &+ panel &* Pass.xPanelStride)
  let operands = fusedOperands(Pass.self, a, x, row: row, panel: panel, ofPanels: true)
  storeFusedSumsOfWords(Sums.self, operands)
  fusedFinish(
    Pass.self, a, x, xStride: operands.xStride, row: row, panel: panel, ofPanels: true, known: known, count: Sums.count)
}

/// As many rows of one panel as whole tiles hold; `all`: the others too, in a tile that overlaps the one before.
@_alwaysEmitIntoClient @inline(__always)
func fusedRows<Pass: FusedPass, Sums: FusedSums>(
  _ pass: Pass.Type, _ kind: Sums.Type, _ a: UnsafePointer<FusedArguments<Pass.Scalar>>, _ x: UnsafePointer<Pass.Scalar>, panel: Int,
  from first: Int, all: Bool, twoChains: Bool
) -> Int where Sums.Shape == Pass.Shape {
  let rows = a.pointee.rows
  var done = first
  while done < rows {
    if !all, rows &- done < Sums.count { return done }
    done = fusedRow(Pass.self, Sums.self, a, x, panel: panel, done: done, twoChains: twoChains)
  }
  return done
}

/// The next tile of rows, which overlaps the one before where there are not so many left. Returns the rows done.
@_alwaysEmitIntoClient @inline(__always)
func fusedRow<Pass: FusedPass, Sums: FusedSums>(
  _ pass: Pass.Type, _ kind: Sums.Type, _ a: UnsafePointer<FusedArguments<Pass.Scalar>>, _ x: UnsafePointer<Pass.Scalar>, panel: Int,
  done: Int, twoChains: Bool
) -> Int where Sums.Shape == Pass.Shape {
  let row = min(done, a.pointee.rows &- Sums.count)
  fusedTile(Pass.self, Sums.self, a, x, row: row, panel: panel, ofPanels: false, known: done &- row, twoChains: twoChains)
  return row &+ Sums.count
}

/// All rows of one panel in large tiles and, where these do not divide them, some of 5 and 4: a tile of fewer rows waits for the
/// panel's weights, which each tile reads from the second-level cache. 32 rows are 4 · 6 + 2 · 4, 33 are 3 · 6 + 3 · 5.
///
/// - Parameter ahead: How much further the part of X W_x + b is that these rows will begin with after this panel. It is asked for
///   now: with many rows it comes from beyond the second-level cache, from as many pages as there are rows.
@_alwaysEmitIntoClient @inline(__always)
func fusedRowsInLargeTiles<Pass: FusedPass>(
  _ pass: Pass.Type, _ a: UnsafePointer<FusedArguments<Pass.Scalar>>, _ x: UnsafePointer<Pass.Scalar>, panel: Int, ahead: Int
) {
  typealias Shape = Pass.Shape
  typealias Large = RowSums<Shape.LargeRows, Shape>
  let rows = a.pointee.rows
  // What no tiles of 4, 5 and `Large.count` rows add up to, as bits.
  let awkward = Large.count == 8 ? 0b1100_1110 : 0b1000_1110
  func leavesWell(_ left: Int, _ count: Int) -> Bool {
    left >= count && (left &- count > 7 || awkward &>> (left &- count) & 1 == 0)
  }
  let next = x + (panel &* Pass.xPanelStride &+ ahead &+ Pass.firstGate &* Shape.Columns.Target.width)
  var done = 0
  while done < rows {
    let left = rows &- done
    var row = done
    while row < min(done &+ Large.count, rows) {
      prefetch(next + row &* a.pointee.xRowStride, count: Shape.lineWidth)
      row &+= 1
    }
    if leavesWell(left, Large.count) {
      done = fusedRow(Pass.self, Large.self, a, x, panel: panel, done: done, twoChains: false)
    } else if leavesWell(left, 5) {
      done = fusedRow(Pass.self, RowSums<FiveRows<Shape.Columns>, Shape>.self, a, x, panel: panel, done: done, twoChains: false)
    } else if left >= 3 && rows >= 4 {
      done = fusedRow(Pass.self, RowSums<FourRows<Shape.Columns>, Shape>.self, a, x, panel: panel, done: done, twoChains: false)
    } else {
      done = fusedRow(Pass.self, RowSums<Shape.SmallRows, Shape>.self, a, x, panel: panel, done: done, twoChains: false)
    }
  }
}

/// X W_x + b of some panels of one row.
@_alwaysEmitIntoClient @inline(__always)
func fusedInputTile<Shape: FusedShape, Sums: FusedPanelSums>(
  _ shape: Shape.Type, _ kind: Sums.Type, _ a: UnsafePointer<FusedArguments<Shape.Scalar>>, panel: Int
) where Sums.Shape == Shape {
  let line = Shape.lineWidth
  let x = a.pointee.x + panel &* line
  let isWords = a.pointee.isWords
  let panelSize = (isWords ? (a.pointee.inputDepth &+ 1) &>> 1 : a.pointee.inputDepth) &* line
  let operands = FusedOperands(
    depth: a.pointee.inputDepth, x: x, xStride: line, bias: x, biasStride: 0, input: a.pointee.input, inputStride: 0,
    weight: a.pointee.inputWeight + panel &* panelSize, weightStride: panelSize, sums: a.pointee.inputSums + panel &* line)
  if isWords {
    storeFusedSumsOfWords(Sums.self, operands)
  } else if a.pointee.inputOrder == .double {
    storeFusedSumsOfTwoChains(Sums.self, operands)
  } else {
    storeFusedSumsOfOneChain(Sums.self, operands)
  }
}

/// The same of any number of panels.
@_alwaysEmitIntoClient @inline(never)
func fusedInput<Shape: FusedShape>(_ shape: Shape.Type, _ a: UnsafePointer<FusedArguments<Shape.Scalar>>, panel first: Int, count: Int) {
  typealias One = PanelSum<Shape>
  var panel = first
  let end = first &+ count
  if Shape.distantPanelCount >= 4 {
    while panel &+ 4 <= end {
      fusedInputTile(Shape.self, PanelSums<PanelSums<One>>.self, a, panel: panel)
      panel &+= 4
    }
  }
  if Shape.distantPanelCount >= 2 {
    while panel &+ 2 <= end {
      fusedInputTile(Shape.self, PanelSums<One>.self, a, panel: panel)
      panel &+= 2
    }
  }
  while panel < end {
    fusedInputTile(Shape.self, One.self, a, panel: panel)
    panel &+= 1
  }
}

/// Of the panels from `firstPanel` on begin ..< end of one row, in tiles of which the last may overlap the one before; from the last to the first if `backwards`.
@_alwaysEmitIntoClient @inline(__always)
func fusedPanels<Pass: FusedPass, Sums: FusedPanelSums>(
  _ pass: Pass.Type, _ kind: Sums.Type, _ a: UnsafePointer<FusedArguments<Pass.Scalar>>, _ xStep: UnsafePointer<Pass.Scalar>, row: Int,
  firstPanel: Int, begin: Int, end: Int, backwards: Bool, twoChains: Bool
) where Sums.Shape == Pass.Shape {
  let tiles = (end &- begin &+ Sums.count &- 1) / Sums.count
  let isWords = a.pointee.isWords
  var i = 0
  while i < tiles {
    let done = begin &+ (backwards ? tiles &- 1 &- i : i) &* Sums.count
    let first = min(done, end &- Sums.count)
    let panel = firstPanel &+ first, known = done &- first
    if Pass.beginsWithInput, a.pointee.inputDepth > 0 {
      fusedInput(Pass.InputShape.self, a, panel: panel &+ known, count: Sums.count &- known)
    }
    if isWords {
      // Larger tiles do not come here.
      if Sums.count <= Pass.Shape.distantPanelCount {
        fusedTileOfWords(Pass.self, Sums.self, a, xStep, row: row, panel: panel, known: known)
      }
    } else if Pass.Shape.Columns.Target.besideRows > 0, !twoChains, Sums.count <= Pass.Shape.distantPanelCount,
      let product = a.pointee.beside, !product.pointee.isDone
    {
      fusedTileBesideProduct(Pass.self, Sums.self, a, xStep, row: row, panel: panel, known: known, product)
    } else if Sums.count <= 2 {
      let x = xStep + (row &* a.pointee.xRowStride &+ panel &* Pass.xPanelStride)
      let operands = fusedOperands(Pass.self, a, x, row: row, panel: panel, ofPanels: true)
      fusedSums(Sums.self, operands, twoChains: twoChains).finish(
        Pass.self, a, x, xStride: operands.xStride,
        element: row &* a.pointee.stateStride &+ panel &* Pass.Shape.Columns.Target.width, known: known)
    } else {
      fusedTile(
        Pass.self, Sums.self, a, xStep, row: row, panel: panel, ofPanels: true, known: known, twoChains: twoChains)
    }
    i &+= 1
  }
}

/// The last panels of one row with the one of half a vector after them, which has number `half`.
@_alwaysEmitIntoClient @inline(__always)
func fusedLastPanels<Pass: FusedPass, HalfPass: FusedPass, Panels: FusedPanelSums>(
  _ pass: Pass.Type, half halfPass: HalfPass.Type, _ kind: Panels.Type, _ a: UnsafePointer<FusedArguments<Pass.Scalar>>,
  _ xStep: UnsafePointer<Pass.Scalar>, panel: Int, half: Int, twoChains: Bool
) where Panels.Shape == Pass.Shape, HalfPass.Scalar == Pass.Scalar {
  typealias HalfSum = PanelSum<HalfPass.Shape>
  typealias Sums = WithHalf<Panels, HalfSum>
  if Pass.beginsWithInput, a.pointee.inputDepth > 0 {
    fusedInput(Pass.InputShape.self, a, panel: panel, count: Panels.count)
    fusedInput(HalfPass.InputShape.self, a, panel: half, count: 1)
  }
  let x = xStep + panel &* Pass.xPanelStride, halfX = xStep + half &* HalfPass.xPanelStride
  var operands = fusedOperands(Pass.self, a, x, row: 0, panel: panel, ofPanels: true)
  operands.halfX = halfX + HalfPass.firstGate &* HalfPass.Shape.Columns.Target.width
  let element = panel &* Pass.Shape.Columns.Target.width, halfElement = half &* HalfPass.Shape.Columns.Target.width
  let isWords = a.pointee.isWords
  if !isWords, a.pointee.beside == nil {
    let sums = fusedSums(Sums.self, operands, twoChains: twoChains)
    sums.panels.finish(Pass.self, a, x, xStride: operands.xStride, element: element, known: 0)
    sums.half.finish(HalfPass.self, a, halfX, xStride: 0, element: halfElement, known: 0)
    return
  }
  if isWords {
    storeFusedSumsOfWords(Sums.self, operands)
  } else if Pass.Shape.Columns.Target.besideRows > 0, let product = a.pointee.beside {
    storeFusedSumsBesideProduct(Sums.self, SixRows<ThreeColumns<Pass.Shape.Columns.Target>>.self, operands, product)
  }
  let sums = UnsafePointer(a.pointee.sums)
  fusedFinish(
    Pass.self, a, sums, x, xStride: operands.xStride, element: element, elementStride: Pass.Shape.Columns.Target.width,
    count: Panels.count)
  HalfPass.finish(HalfPass.Shape.Columns(sums + Panels.count &* Pass.Shape.lineWidth), halfX, a, element: halfElement)
}

/// Some panels of one step, from the last to the first if `backwards`.
@_alwaysEmitIntoClient @inline(__always)
func fusedPass<Pass: FusedPass>(
  _ pass: Pass.Type, _ a: UnsafePointer<FusedArguments<Pass.Scalar>>, _ x: UnsafePointer<Pass.Scalar>, firstPanel: Int, panelCount: Int,
  backwards: Bool, twoChains: Bool
) {
  typealias Shape = Pass.Shape
  typealias Large = RowSums<Shape.LargeRows, Shape>
  typealias Small = RowSums<Shape.SmallRows, Shape>
  typealias One = PanelSum<Shape>
  if a.pointee.rows >= Small.count {
    var i = 0
    while i < panelCount {
      let panel = firstPanel &+ (backwards ? panelCount &- 1 &- i : i)
      if !twoChains && Large.count >= 6 {
        let ahead = i &+ 1 == panelCount
          ? a.pointee.xStepStride : backwards ? 0 &- Pass.xPanelStride : Pass.xPanelStride
        fusedRowsInLargeTiles(Pass.self, a, x, panel: panel, ahead: ahead)
      } else {
        var row = 0
        if !twoChains && Large.count > Small.count {
          row = fusedRows(Pass.self, Large.self, a, x, panel: panel, from: 0, all: false, twoChains: false)
        }
        _ = fusedRows(Pass.self, Small.self, a, x, panel: panel, from: row, all: true, twoChains: twoChains)
      }
      i &+= 1
    }
    return
  }
  let weightSize = (a.pointee.depth &+ a.pointee.inputDepth) &* panelCount &* Shape.lineWidth &* MemoryLayout<Pass.Scalar>.size
  let isWords = a.pointee.isWords
  let isDistant = weightSize > firstLevelCacheSize || isWords
  let most = min(isDistant ? Shape.distantPanelCount : twoChains ? Shape.panelCount &>> 1 : Shape.panelCount, panelCount)
  // A panel that is left over comes by itself where it is waited for anyway, instead of in a tile that does another one again.
  let whole = isDistant && most > 1 && panelCount % most == 1 ? panelCount &- 1 : panelCount
  var row = 0
  while row < a.pointee.rows {
    var begin = backwards && whole < panelCount ? whole : 0
    var visited = 0
    while visited < panelCount {
      let size = begin == whole ? 1 : most, end = begin == whole ? panelCount : whole
      if Shape.panelCount >= 8 && size >= 8 {
        fusedPanels(
          Pass.self, PanelSums<PanelSums<PanelSums<One>>>.self, a, x, row: row, firstPanel: firstPanel, begin: begin, end: end, backwards: backwards,
          twoChains: twoChains)
      } else if Shape.panelCount >= 4 && size >= 4 {
        fusedPanels(
          Pass.self, PanelSums<PanelSums<One>>.self, a, x, row: row, firstPanel: firstPanel, begin: begin, end: end, backwards: backwards,
          twoChains: twoChains)
      } else if size >= 2 {
        fusedPanels(
          Pass.self, PanelSums<One>.self, a, x, row: row, firstPanel: firstPanel, begin: begin, end: end, backwards: backwards, twoChains: twoChains)
      } else {
        fusedPanels(Pass.self, One.self, a, x, row: row, firstPanel: firstPanel, begin: begin, end: end, backwards: backwards, twoChains: twoChains)
      }
      visited &+= end &- begin
      begin = begin == whole ? 0 : whole
    }
    row &+= 1
  }
}

@_alwaysEmitIntoClient @inline(__always)
func fusedPass<Pass: FusedPass>(
  _ pass: Pass.Type, _ a: UnsafePointer<FusedArguments<Pass.Scalar>>, _ x: UnsafePointer<Pass.Scalar>, firstPanel: Int, panelCount: Int,
  backwards: Bool, _ order: ReductionOrder
) {
  if order == .double {
    fusedPass(Pass.self, a, x, firstPanel: firstPanel, panelCount: panelCount, backwards: backwards, twoChains: true)
  } else {
    fusedPass(Pass.self, a, x, firstPanel: firstPanel, panelCount: panelCount, backwards: backwards, twoChains: false)
  }
}

/// The panels of a call: those of whole vectors, and the last if it is one of half a vector. Counted in such, it has the number that its
/// place in all arrays has.
@_alwaysEmitIntoClient @inline(__always)
func fusedPass<Pass: FusedPass, HalfPass: FusedPass>(
  _ pass: Pass.Type, half: HalfPass.Type, _ a: UnsafePointer<FusedArguments<Pass.Scalar>>, _ x: UnsafePointer<Pass.Scalar>,
  backwards: Bool, _ order: ReductionOrder
) where HalfPass.Scalar == Pass.Scalar {
  let first = a.pointee.firstPanel, count = a.pointee.panelCount
  guard Pass.Shape.Columns.Target.halfWidth > 0, a.pointee.hasHalfPanel else {
    return fusedPass(Pass.self, a, x, firstPanel: first, panelCount: count, backwards: backwards, order)
  }
  // One row takes it with one or two others.
  let others = a.pointee.rows > 1 || count == 0 ? 0 : Pass.Shape.distantPanelCount > 1 && count & 1 == 0 ? 2 : 1
  let alone = count &- others
  if !backwards, alone > 0 { fusedPass(Pass.self, a, x, firstPanel: first, panelCount: alone, backwards: false, order) }
  let last = 2 &* (first &+ count)
  if others == 0 {
    fusedPass(HalfPass.self, a, x, firstPanel: last, panelCount: 1, backwards: false, order)
  } else {
    fusedLastPanels(Pass.self, half: HalfPass.self, a, x, panel: first &+ alone, count: others, half: last, order)
  }
  if backwards, alone > 0 { fusedPass(Pass.self, a, x, firstPanel: first, panelCount: alone, backwards: true, order) }
}

/// One or two panels of one row, and the last.
@_alwaysEmitIntoClient @inline(__always)
func fusedLastPanels<Pass: FusedPass, HalfPass: FusedPass>(
  _ pass: Pass.Type, half halfPass: HalfPass.Type, _ a: UnsafePointer<FusedArguments<Pass.Scalar>>,
  _ x: UnsafePointer<Pass.Scalar>, panel: Int, count: Int, half: Int, _ order: ReductionOrder
) where HalfPass.Scalar == Pass.Scalar {
  typealias One = PanelSum<Pass.Shape>
  if Pass.Shape.distantPanelCount > 1, count == 2 {
    if order == .double {
      fusedLastPanels(Pass.self, half: HalfPass.self, PanelSums<One>.self, a, x, panel: panel, half: half, twoChains: true)
    } else {
      fusedLastPanels(Pass.self, half: HalfPass.self, PanelSums<One>.self, a, x, panel: panel, half: half, twoChains: false)
    }
  } else if order == .double {
    fusedLastPanels(Pass.self, half: HalfPass.self, One.self, a, x, panel: panel, half: half, twoChains: true)
  } else {
    fusedLastPanels(Pass.self, half: HalfPass.self, One.self, a, x, panel: panel, half: half, twoChains: false)
  }
}

/// The tiles of a target with 32 registers, or with 16.
@_alwaysEmitIntoClient @inline(__always)
func fusedLSTM<T: KernelTarget>(_ target: T.Type, _ a: UnsafePointer<FusedArguments<T.Scalar>>, _ x: UnsafePointer<T.Scalar>, _ backwards: Bool) {
  if T.tileRows >= 8 {
    fusedPass(FusedLSTM<T, SixRows<FourColumns<T>>>.self, half: FusedLSTM<T.Half, SixRows<FourColumns<T.Half>>>.self, a, x, backwards: backwards, a.pointee.order)
  } else {
    fusedPass(FusedLSTM<T, TwoRows<FourColumns<T>>>.self, half: FusedLSTM<T.Half, TwoRows<FourColumns<T.Half>>>.self, a, x, backwards: backwards, a.pointee.order)
  }
}

@_alwaysEmitIntoClient @inline(__always)
func fusedGRUAfter<T: KernelTarget>(_ target: T.Type, _ a: UnsafePointer<FusedArguments<T.Scalar>>, _ x: UnsafePointer<T.Scalar>, _ backwards: Bool) {
  if T.tileRows >= 8 {
    fusedPass(FusedGRUAfter<T, EightRows<ThreeColumns<T>>>.self, half: FusedGRUAfter<T.Half, EightRows<ThreeColumns<T.Half>>>.self, a, x, backwards: backwards, a.pointee.order)
  } else {
    fusedPass(FusedGRUAfter<T, FourRows<ThreeColumns<T>>>.self, half: FusedGRUAfter<T.Half, FourRows<ThreeColumns<T.Half>>>.self, a, x, backwards: backwards, a.pointee.order)
  }
}

@_alwaysEmitIntoClient @inline(__always)
func fusedGRUBefore<T: KernelTarget>(_ target: T.Type, _ a: UnsafePointer<FusedArguments<T.Scalar>>, _ x: UnsafePointer<T.Scalar>, _ backwards: Bool) {
  if a.pointee.phases & 1 != 0 {
    if T.tileRows >= 8 {
      fusedPass(FusedGRUBeforeGates<T, EightRows<TwoColumns<T>>>.self, half: FusedGRUBeforeGates<T.Half, EightRows<TwoColumns<T.Half>>>.self, a, x, backwards: backwards, a.pointee.order)
    } else {
      fusedPass(FusedGRUBeforeGates<T, FourRows<TwoColumns<T>>>.self, half: FusedGRUBeforeGates<T.Half, FourRows<TwoColumns<T.Half>>>.self, a, x, backwards: backwards, a.pointee.order)
    }
  }
  if a.pointee.phases & 2 != 0 {
    fusedPass(FusedGRUBeforeCandidate<T>.self, half: FusedGRUBeforeCandidate<T.Half>.self, a, x, backwards: backwards, a.pointee.candidateOrder)
  }
}

/// Steps of a layer; see ``FusedArguments``. The panels go to and fro, so that a half of the weights is still in the cache
/// where the whole does not fit.
@_alwaysEmitIntoClient @inline(__always)
public func fusedSequenceBody<T: KernelTarget>(_ target: T.Type, _ arguments: UnsafePointer<FusedArguments<T.Scalar>>) {
  // A step alone, the case of a stream, has no time for a copy of its arguments.
  if arguments.pointee.steps == 1 {
    return fusedStep(T.self, arguments, x: fusedSource(arguments), backwards: arguments.pointee.firstStep & 1 == 1)
  }
  var a = arguments.pointee
  withUnsafeMutablePointer(to: &a) { a in
    var step = 0
    while step < arguments.pointee.steps {
      fusedStep(
        T.self, UnsafePointer(a), x: fusedSource(UnsafePointer(a)), backwards: (step &+ arguments.pointee.firstStep) & 1 == 1)
      let hidden = a.pointee.hidden
      a.pointee.hidden = a.pointee.nextHidden
      a.pointee.nextHidden = hidden
      a.pointee.x += a.pointee.xStepStride
      a.pointee.output = a.pointee.output.map { $0 + a.pointee.outputStepStride }
      step &+= 1
    }
    if T.besideRows > 0, let product = a.pointee.beside { finishProduct(T.self, product, edge: a.pointee.sums) }
  }
}

/// X W_x + b of the next step, or where it will be.
@_alwaysEmitIntoClient @inline(__always)
func fusedSource<Scalar>(_ a: UnsafePointer<FusedArguments<Scalar>>) -> UnsafePointer<Scalar> {
  a.pointee.inputDepth > 0 ? UnsafePointer(a.pointee.inputSums) : a.pointee.x
}

@_alwaysEmitIntoClient @inline(__always)
func prefetch<Scalar>(_ p: UnsafePointer<Scalar>, count: Int) {
  var line = UnsafeRawPointer(p)
  let end = line + count &* MemoryLayout<Scalar>.stride
  while line < end {
    rnn_cpu_prefetch(line)
    line += 64
  }
}

@_alwaysEmitIntoClient @inline(__always)
func fusedStep<T: KernelTarget>(
  _ target: T.Type, _ a: UnsafePointer<FusedArguments<T.Scalar>>, x: UnsafePointer<T.Scalar>, backwards: Bool
) {
  let first = a.pointee.firstPanel &* T.width
  let count = min(a.pointee.depth &- first, a.pointee.panelCount &* T.width &+ (a.pointee.hasHalfPanel ? T.halfWidth : 0))
  if count < a.pointee.depth {
    // Another thread has written these. All lines at once, as each is some 100 ns away.
    prefetch(a.pointee.phases == 2 ? a.pointee.term : a.pointee.hidden, count: a.pointee.depth)
    prefetch(a.pointee.input, count: a.pointee.inputDepth)
  }
  switch a.pointee.cellKind {
  case .vanillaTanh, .vanillaRelu: fusedPass(FusedVanilla<T>.self, half: FusedVanilla<T.Half>.self, a, x, backwards: backwards, a.pointee.order)
  case .lstm: fusedLSTM(T.self, a, x, backwards)
  case .gruBefore: fusedGRUBefore(T.self, a, x, backwards)
  case .gruAfter: fusedGRUAfter(T.self, a, x, backwards)
  }
  guard let output = a.pointee.output, a.pointee.phases & 2 != 0 else { return }
  var row = 0
  while row < a.pointee.rows {
    let from = UnsafePointer(a.pointee.nextHidden) + (row &* a.pointee.stateStride &+ first)
    let to = output + (row &* a.pointee.outputRowStride &+ first)
    var j = 0
    while j &+ T.width <= count {
      T.store(T.load(from + j), to + j)
      j &+= T.width
    }
    while j < count {
      to[j] = from[j]
      j &+= 1
    }
    row &+= 1
  }
}
