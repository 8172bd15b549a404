/// The logical lanes of one horizontal sum, in memory.
@frozen
public struct LaneSums<T: KernelTarget> {
  /// Sixteen lanes of the widest element; double uses the first eight.
  @usableFromInline var storage: (SIMD16<Double>, Int) = (.zero, 0)

  @inlinable @inline(__always) init() {}

  @inlinable @inline(__always)
  mutating func set(_ v: T.Vector, _ first: Int) {
    withUnsafeMutableBytes(of: &storage) { bytes in
      guard let lane = bytes.baseAddress?.assumingMemoryBound(to: T.Scalar.self) else { return }
      T.store(v, lane + first)
    }
  }

  /// Lane l takes lane l + half, for halves of 8 (float only), 4, 2 and 1. In registers but for the first: one row waits for it.
  @inlinable @inline(__always)
  mutating func folded() -> T.Scalar {
    typealias S = T.Scalar
    return withUnsafeBytes(of: &storage) { bytes in
      // The storage is not empty.
      guard let lanes = bytes.baseAddress else { return 0 }
      let four: SIMD4<S>
      if S.reductionLanes == 16 {
        let eight =
          lanes.loadUnaligned(as: SIMD8<S>.self) + (lanes + 8 &* MemoryLayout<S>.size).loadUnaligned(as: SIMD8<S>.self)
        four = eight.lowHalf + eight.highHalf
      } else {
        four = lanes.loadUnaligned(as: SIMD4<S>.self) + (lanes + 4 &* MemoryLayout<S>.size).loadUnaligned(as: SIMD4<S>.self)
      }
      let two = four.lowHalf + four.highHalf
      return two[0] + two[1]
    }
  }
}

/// sums[m] = Σ_r values[r, m]: lane l takes the rows r ≡ l, ascending; the lanes are folded in halves.
@_alwaysEmitIntoClient @inline(__always)
public func columnSumsBody<T: KernelTarget>(_ target: T.Type, _ a: ColumnSumArguments<T.Scalar>) {
  let logicalLanes = T.Vector.Scalar.reductionLanes
  var column = 0
  // The rows of a lane are far apart: of each several vectors, which lie together.
  while column &+ 4 &* T.width <= a.columns {
    columnSums(FourColumns<T>.self, a, column: column)
    column &+= 4 &* T.width
  }
  while column < a.columns {
    let count = min(T.width, a.columns &- column)
    let values = a.values + column
    @inline(__always) func lane(_ l: Int) -> T.Vector {
      var sum = T.Vector.zero
      var row = l
      while row < a.rows {
        sum = sum + T.load(values + row &* a.valuesStride, lanes: count)
        row &+= logicalLanes
      }
      return sum
    }
    // The fold written out: the sum of the lanes l, l + 1·step, … of one residue.
    @inline(__always) func pair(_ l: Int) -> T.Vector {
      logicalLanes == 16 ? lane(l) + lane(l &+ 8) : lane(l)
    }
    @inline(__always) func four(_ l: Int) -> T.Vector { pair(l) + pair(l &+ 4) }
    @inline(__always) func eight(_ l: Int) -> T.Vector { four(l) + four(l &+ 2) }
    T.store(eight(0) + eight(1), a.sums + column, lanes: count)
    column &+= T.width
  }
}

/// The same of whole vectors side by side.
@_alwaysEmitIntoClient @inline(__always)
func columnSums<Columns: ColumnTile>(
  _ kind: Columns.Type, _ a: ColumnSumArguments<Columns.Scalar>, column: Int
) {
  let logicalLanes = Columns.Target.Vector.Scalar.reductionLanes
  let values = a.values + column
  @inline(__always) func lane(_ l: Int) -> Columns {
    var sum = Columns.zero
    var row = l
    while row < a.rows {
      sum.add(Columns(values + row &* a.valuesStride))
      row &+= logicalLanes
    }
    return sum
  }
  @inline(__always) func sum(_ first: Columns, _ second: Columns) -> Columns {
    var sum = first
    sum.add(second)
    return sum
  }
  @inline(__always) func pair(_ l: Int) -> Columns { logicalLanes == 16 ? sum(lane(l), lane(l &+ 8)) : lane(l) }
  @inline(__always) func four(_ l: Int) -> Columns { sum(pair(l), pair(l &+ 4)) }
  @inline(__always) func eight(_ l: Int) -> Columns { sum(four(l), four(l &+ 2)) }
  sum(eight(0), eight(1)).store(a.sums + column)
}

/// Σ values², in double and 8 lanes: squares of any float are in range.
///
/// Scalar code on purpose: the conversion of float vectors to double falls apart, and the compiler vectorises this loop.
@_alwaysEmitIntoClient @inline(__always)
public func sumOfSquaresBody<T: KernelTarget>(_ target: T.Type, _ a: SquareSumArguments<T.Scalar>)
where T.Scalar: BinaryFloatingPoint {
  var lanes = SIMD8<Double>.zero
  var i = 0
  while i &+ 8 <= a.count {
    var v = SIMD8<Double>.zero
    var l = 0
    while l < 8 {
      v[l] = Double(a.values[i &+ l])
      l &+= 1
    }
    lanes = lanes + v * v
    i &+= 8
  }
  if i < a.count {
    var v = SIMD8<Double>.zero
    var l = 0
    while i &+ l < a.count {
      v[l] = Double(a.values[i &+ l])
      l &+= 1
    }
    lanes = lanes + v * v
  }
  let four = lanes.lowHalf + lanes.highHalf
  let two = four.lowHalf + four.highHalf
  a.result.pointee = two.x + two.y
}

extension KernelTarget {
  /// Σ term over the columns: lane l takes those ≡ l, ascending; the lanes are folded in halves.
  ///
  /// - Parameter term: Of the vector at a column, of which so many lanes exist; the others must be zero.
  @inlinable @inline(__always)
  static func laneSum(columns: Int, _ term: (_ column: Int, _ lanes: Int) -> Vector) -> Scalar {
    let logicalLanes = Vector.Scalar.reductionLanes
    var lanes = LaneSums<Self>()
    var first = 0
    while first < logicalLanes {
      var sum = Vector.zero
      var c = first
      while c < columns {
        sum = sum + term(c, columns &- c)
        c &+= logicalLanes
      }
      lanes.set(sum, first)
      first &+= width
    }
    return lanes.folded()
  }

  /// The largest of numbers, whatever the order; NaN does not count.
  @inlinable @inline(__always)
  static func largest(of values: UnsafePointer<Scalar>, columns: Int) -> Scalar {
    // Four chains, since each comparison waits for the one before.
    var (m0, m1) = (Vector(repeating: -Scalar.infinity), Vector(repeating: -Scalar.infinity))
    var (m2, m3) = (m0, m1)
    var c = 0
    while c &+ 4 &* width <= columns {
      m0 = larger(m0, load(values + c))
      m1 = larger(m1, load(values + (c &+ width)))
      m2 = larger(m2, load(values + (c &+ 2 &* width)))
      m3 = larger(m3, load(values + (c &+ 3 &* width)))
      c &+= 4 &* width
    }
    m0 = larger(larger(m0, m1), larger(m2, m3))
    var result = -Scalar.infinity
    var lane = 0
    while lane < width {
      result = m0[lane] > result ? m0[lane] : result
      lane &+= 1
    }
    while c < columns {
      result = values[c] > result ? values[c] : result
      c &+= 1
    }
    return result
  }

  /// v where v > m, else m; NaN in v is not larger. By the sign of the difference, which is never a rounded one.
  @inlinable @inline(__always)
  static func larger(_ m: Vector, _ v: Vector) -> Vector {
    let isLarger = signMask(bits(m - v)) & ~nanMask(v)
    return vector((bits(v) & isLarger) | (bits(m) & ~isLarger))
  }

  /// exponentials = e^(values - max), their sum in logical lanes, and max. May be in place. NaN passes to its element and to the
  /// sum.
  @inlinable @inline(__always)
  static func exponentials(
    of values: UnsafePointer<Scalar>, columns: Int, to exponentials: UnsafeMutablePointer<Scalar>
  ) -> (largest: Scalar, sum: Scalar) {
    let largest = Self.largest(of: values, columns: columns)
    let maximum = Vector(repeating: largest)
    let sum = laneSum(columns: columns) { c, count in
      store(exponentialOfDifference(load(values + c, lanes: count), maximum), exponentials + c, lanes: count)
      // Read back: what is past the last column is zero there, not e^(0 - max).
      return load(UnsafePointer(exponentials) + c, lanes: count)
    }
    return (largest, sum)
  }
}

/// e^(x - max) of each row and their sum in logical lanes. NaN passes to its element and to the sum.
@_alwaysEmitIntoClient @inline(__always)
public func softmaxBody<T: KernelTarget>(_ target: T.Type, _ a: SoftmaxArguments<T.Scalar>) {
  var row = 0
  while row < a.rows {
    let (largest, sum) = T.exponentials(
      of: a.values + row &* a.valuesStride, columns: a.columns, to: a.exponentials + row &* a.exponentialsStride)
    a.summaries[2 &* row] = largest
    a.summaries[2 &* row &+ 1] = sum
    row &+= 1
  }
}
