/// One instruction set for one precision: its vector, how it multiplies and adds, and how many registers a tile may use.
public protocol KernelTarget {
  associatedtype Scalar where Scalar == Vector.Scalar
  /// The same with vectors of half the width, for the last units of a layer; itself where there are none.
  associatedtype Half: KernelTarget = Self where Half.Scalar == Scalar
  associatedtype Vector: SIMD where Vector.Scalar: KernelFloat, Vector.MaskStorage.Scalar == Vector.Scalar.Bits

  /// a · b + c: one rounding where the instruction set has fused multiply-add, two where it has not. (Never `addingProduct`
  /// there: it calls `fmaf` lane by lane.)
  static func multiplyAdd(_ a: Vector, _ b: Vector, _ c: Vector) -> Vector

  /// All ones where v is NaN. (For a concrete vector `.==` is one instruction; in a generic body it falls apart.)
  static func nanMask(_ v: Vector) -> Vector.MaskStorage

  /// Vectors side by side in a packed panel: 3 where they fill the registers of a tile, else 2.
  static var panelVectors: Int { get }
  /// Rows of the largest register tile: 8 with 32 registers, 4 with 16.
  static var tileRows: Int { get }
}

extension KernelTarget {
  public typealias Mask = Vector.MaskStorage

  @inlinable @inline(__always) public static var width: Int { Vector.scalarCount }
  /// That of `Half`; 0 where there is none.
  @inlinable @inline(__always) public static var halfWidth: Int { Half.width < width ? Half.width : 0 }

  @inlinable @inline(__always)
  public static func load(_ p: UnsafePointer<Scalar>) -> Vector {
    UnsafeRawPointer(p).loadUnaligned(as: Vector.self)
  }

  @inlinable @inline(__always)
  public static func store(_ v: Vector, _ p: UnsafeMutablePointer<Scalar>) {
    UnsafeMutableRawPointer(p).storeBytes(of: v, as: Vector.self)
  }

  @inlinable @inline(__always)
  static func loadBits(_ p: UnsafePointer<Scalar>) -> Mask { UnsafeRawPointer(p).loadUnaligned(as: Mask.self) }

  /// The first `lanes` of a vector, the others zero.
  @inlinable @inline(__always)
  public static func load(_ p: UnsafePointer<Scalar>, lanes: Int) -> Vector {
    if lanes >= width { return load(p) }
    return load(p, stride: 1, lanes: lanes)
  }

  @inlinable @inline(__always)
  public static func load(_ p: UnsafePointer<Scalar>, stride: Int, lanes: Int) -> Vector {
    var v = Vector.zero
    withUnsafeMutableBytes(of: &v) { bytes in
      guard let lane = bytes.baseAddress?.assumingMemoryBound(to: Scalar.self) else { return }
      var i = 0
      while i < lanes {
        lane[i] = p[i &* stride]
        i &+= 1
      }
    }
    return v
  }

  @inlinable @inline(__always)
  public static func store(_ v: Vector, _ p: UnsafeMutablePointer<Scalar>, lanes: Int) {
    if lanes >= width { return store(v, p) }
    withUnsafeBytes(of: v) { bytes in
      guard let lane = bytes.baseAddress?.assumingMemoryBound(to: Scalar.self) else { return }
      var i = 0
      while i < lanes {
        p[i] = lane[i]
        i &+= 1
      }
    }
  }

  /// Calls `body` for every vector of every row: row, first column, and how many of its lanes exist (the vector's width or more
  /// means all).
  @inlinable @inline(__always)
  static func forEachVector(rows: Int, columns: Int, _ body: (_ row: Int, _ column: Int, _ lanes: Int) -> Void) {
    var row = 0
    while row < rows {
      var column = 0
      while column < columns {
        body(row, column, columns &- column)
        column &+= width
      }
      row &+= 1
    }
  }

  @inlinable @inline(__always) public static func bits(_ v: Vector) -> Mask { unsafeBitCast(v, to: Mask.self) }
  @inlinable @inline(__always) public static func vector(_ m: Mask) -> Vector { unsafeBitCast(m, to: Vector.self) }

  /// All ones where the sign bit is set.
  @inlinable @inline(__always)
  public static func signMask(_ m: Mask) -> Mask { m &>> Mask(repeating: Vector.Scalar.signShift) }
}
