// A register tile of a matrix product is Rows × Columns vectors, composed of these types and held in registers by the
// compiler: the accumulators, and (Columns alone) one line of the packed weights. Always whole vectors: a partial load takes the
// address of what it fills, and an accumulator with an address is no longer in a register.

/// One to four vectors side by side.
public protocol ColumnTile {
  associatedtype Target: KernelTarget
  associatedtype Scalar where Scalar == Target.Scalar
  static var vectors: Int { get }
  static var zero: Self { get }
  init(_ p: UnsafePointer<Scalar>)
  func store(_ p: UnsafeMutablePointer<Scalar>)
  mutating func addProduct(_ a: Target.Vector, _ b: Self)
  /// Adds a times the low halves of the words at `p`, as the high halves of numbers, and then b times their high halves.
  mutating func addProducts(_ a: Target.Vector, _ b: Target.Vector, words p: UnsafePointer<Scalar>)
  mutating func add(_ other: Self)
}

@frozen
public struct OneColumn<Target: KernelTarget>: ColumnTile {
  public typealias Scalar = Target.Scalar
  @usableFromInline var v: Target.Vector

  @inlinable @inline(__always) init(v: Target.Vector) { self.v = v }
  @inlinable @inline(__always) public static var vectors: Int { 1 }
  @inlinable @inline(__always) public static var zero: Self { Self(v: .zero) }
  @inlinable @inline(__always) public init(_ p: UnsafePointer<Scalar>) { v = Target.load(p) }
  @inlinable @inline(__always) public func store(_ p: UnsafeMutablePointer<Scalar>) { Target.store(v, p) }
  @inlinable @inline(__always)
  public mutating func addProduct(_ a: Target.Vector, _ b: Self) { v = Target.multiplyAdd(a, b.v, v) }
  @inlinable @inline(__always)
  public mutating func addProducts(_ a: Target.Vector, _ b: Target.Vector, words p: UnsafePointer<Scalar>) {
    let words = Target.loadBits(p)
    let half = Target.Mask(repeating: Scalar.halfWidth)
    v = Target.multiplyAdd(a, Target.vector(words &<< half), v)
    v = Target.multiplyAdd(b, Target.vector(words & (Target.Mask(repeating: -1) &<< half)), v)
  }
  @inlinable @inline(__always) public mutating func add(_ other: Self) { v = v + other.v }
}

/// `First` and, to its right, `Rest`.
@frozen
public struct Beside<First: ColumnTile, Rest: ColumnTile>: ColumnTile where First.Target == Rest.Target {
  public typealias Target = First.Target
  public typealias Scalar = First.Target.Scalar
  @usableFromInline var first: First
  @usableFromInline var rest: Rest

  @inlinable @inline(__always) init(first: First, rest: Rest) { self.first = first; self.rest = rest }
  @inlinable @inline(__always) static var offset: Int { First.vectors &* Target.width }
  @inlinable @inline(__always) public static var vectors: Int { First.vectors &+ Rest.vectors }
  @inlinable @inline(__always) public static var zero: Self { Self(first: .zero, rest: .zero) }
  @inlinable @inline(__always)
  public init(_ p: UnsafePointer<Scalar>) {
    first = First(p)
    rest = Rest(p + Self.offset)
  }
  @inlinable @inline(__always)
  public func store(_ p: UnsafeMutablePointer<Scalar>) {
    first.store(p)
    rest.store(p + Self.offset)
  }
  @inlinable @inline(__always)
  public mutating func addProduct(_ a: Target.Vector, _ b: Self) {
    first.addProduct(a, b.first)
    rest.addProduct(a, b.rest)
  }
  @inlinable @inline(__always)
  public mutating func addProducts(_ a: Target.Vector, _ b: Target.Vector, words p: UnsafePointer<Scalar>) {
    first.addProducts(a, b, words: p)
    rest.addProducts(a, b, words: p + Self.offset)
  }
  @inlinable @inline(__always)
  public mutating func add(_ other: Self) {
    first.add(other.first)
    rest.add(other.rest)
  }
}

public typealias TwoColumns<Target: KernelTarget> = Beside<OneColumn<Target>, OneColumn<Target>>
public typealias ThreeColumns<Target: KernelTarget> = Beside<OneColumn<Target>, TwoColumns<Target>>

/// Rows of columns: the accumulators of a tile.
public protocol RowTile {
  associatedtype Columns: ColumnTile
  associatedtype Scalar where Scalar == Columns.Scalar
  static var count: Int { get }
  static var zero: Self { get }
  /// Loads and stores rows of `columns` elements; fewer than the vectors hold go through `edge`, which has room for one row.
  init(_ p: UnsafePointer<Scalar>, stride: Int, columns: Int, edge: UnsafeMutablePointer<Scalar>)
  func store(_ p: UnsafeMutablePointer<Scalar>, stride: Int, columns: Int, edge: UnsafeMutablePointer<Scalar>)
  /// The beginnings of a fused step's sums, and whole rows.
  init<Shape: FusedShape>(
    _ shape: Shape.Type, _ x: UnsafePointer<Scalar>, stride: Int, _ bias: UnsafePointer<Scalar>
  ) where Shape.Columns == Columns
  func store(_ p: UnsafeMutablePointer<Scalar>, stride: Int)
  /// Each row adds its own a, at `stride` from the row above, times b.
  mutating func addProduct(_ a: UnsafePointer<Scalar>, stride: Int, _ b: Columns)
  mutating func add(_ other: Self)
}

@frozen
public struct OneRow<Columns: ColumnTile>: RowTile {
  public typealias Scalar = Columns.Scalar
  @usableFromInline var row: Columns

  @inlinable @inline(__always) init(row: Columns) { self.row = row }
  @inlinable @inline(__always) public static var count: Int { 1 }
  @inlinable @inline(__always) public static var zero: Self { Self(row: .zero) }
  @inlinable @inline(__always)
  public init(_ p: UnsafePointer<Scalar>, stride: Int, columns: Int, edge: UnsafeMutablePointer<Scalar>) {
    if columns < Columns.vectors &* Columns.Target.width {
      copyElements(from: p, to: edge, count: columns)
      row = Columns(edge)
    } else {
      row = Columns(p)
    }
  }
  @inlinable @inline(__always)
  public func store(_ p: UnsafeMutablePointer<Scalar>, stride: Int, columns: Int, edge: UnsafeMutablePointer<Scalar>) {
    if columns < Columns.vectors &* Columns.Target.width {
      row.store(edge)
      copyElements(from: edge, to: p, count: columns)
    } else {
      row.store(p)
    }
  }
  @inlinable @inline(__always)
  public init<Shape: FusedShape>(
    _ shape: Shape.Type, _ x: UnsafePointer<Scalar>, stride: Int, _ bias: UnsafePointer<Scalar>
  ) where Shape.Columns == Columns {
    row = Shape.start(x, bias)
  }
  @inlinable @inline(__always) public func store(_ p: UnsafeMutablePointer<Scalar>, stride: Int) { row.store(p) }
  @inlinable @inline(__always)
  public mutating func addProduct(_ a: UnsafePointer<Scalar>, stride: Int, _ b: Columns) {
    row.addProduct(Columns.Target.Vector(repeating: a.pointee), b)
  }
  @inlinable @inline(__always) public mutating func add(_ other: Self) { row.add(other.row) }
}

/// `Upper` and, below it, `Lower`.
@frozen
public struct Above<Upper: RowTile, Lower: RowTile>: RowTile where Upper.Columns == Lower.Columns {
  public typealias Columns = Upper.Columns
  public typealias Scalar = Upper.Scalar
  @usableFromInline var upper: Upper
  @usableFromInline var lower: Lower

  @inlinable @inline(__always) init(upper: Upper, lower: Lower) { self.upper = upper; self.lower = lower }
  @inlinable @inline(__always) public static var count: Int { Upper.count &+ Lower.count }
  @inlinable @inline(__always) public static var zero: Self { Self(upper: .zero, lower: .zero) }
  @inlinable @inline(__always)
  public init(_ p: UnsafePointer<Scalar>, stride: Int, columns: Int, edge: UnsafeMutablePointer<Scalar>) {
    upper = Upper(p, stride: stride, columns: columns, edge: edge)
    lower = Lower(p + Upper.count &* stride, stride: stride, columns: columns, edge: edge)
  }
  @inlinable @inline(__always)
  public func store(_ p: UnsafeMutablePointer<Scalar>, stride: Int, columns: Int, edge: UnsafeMutablePointer<Scalar>) {
    upper.store(p, stride: stride, columns: columns, edge: edge)
    lower.store(p + Upper.count &* stride, stride: stride, columns: columns, edge: edge)
  }
  @inlinable @inline(__always)
  public init<Shape: FusedShape>(
    _ shape: Shape.Type, _ x: UnsafePointer<Scalar>, stride: Int, _ bias: UnsafePointer<Scalar>
  ) where Shape.Columns == Columns {
    upper = Upper(Shape.self, x, stride: stride, bias)
    lower = Lower(Shape.self, x + Upper.count &* stride, stride: stride, bias)
  }
  @inlinable @inline(__always)
  public func store(_ p: UnsafeMutablePointer<Scalar>, stride: Int) {
    upper.store(p, stride: stride)
    lower.store(p + Upper.count &* stride, stride: stride)
  }
  @inlinable @inline(__always)
  public mutating func addProduct(_ a: UnsafePointer<Scalar>, stride: Int, _ b: Columns) {
    upper.addProduct(a, stride: stride, b)
    lower.addProduct(a + Upper.count &* stride, stride: stride, b)
  }
  @inlinable @inline(__always)
  public mutating func add(_ other: Self) {
    upper.add(other.upper)
    lower.add(other.lower)
  }
}

public typealias TwoRows<Columns: ColumnTile> = Above<OneRow<Columns>, OneRow<Columns>>
public typealias FourRows<Columns: ColumnTile> = Above<TwoRows<Columns>, TwoRows<Columns>>
public typealias SixRows<Columns: ColumnTile> = Above<FourRows<Columns>, TwoRows<Columns>>
public typealias EightRows<Columns: ColumnTile> = Above<FourRows<Columns>, FourRows<Columns>>
