/// Initial weights, in double: the caller rounds them to the network's dtype, so that both dtypes start from the same
/// ones.
///
/// Every number is a function of (seed, parameter, element) and nothing else: not of the size of the other parameters,
/// the order in which they are filled, the platform or the threads. `parameter` is the place of the parameter in the
/// network's list.
///
/// - Precondition: Shapes are those of parameters that exist, so their products do not overflow; bounds and deviations
///   are finite.
enum Initialization {
  /// Uniform in [−bound, bound): element e is `bound · (2·u − 1)`, with `u` of ``uniformDouble(_:)``.
  static func fillUniform(
    _ values: UnsafeMutableBufferPointer<Double>, bound: Double, seed: UInt64, parameter: UInt32
  ) {
    let key = PhiloxKey(seed: seed, purpose: .initialization, layer: parameter)
    for element in values.indices {
      values[element] = bound * (2 * uniformDouble(key.bits(element: UInt64(element))) - 1)
    }
  }

  /// Normal with mean 0: element e is `deviation` times ``Normal/sample(_:)``.
  static func fillNormal(
    _ values: UnsafeMutableBufferPointer<Double>, deviation: Double, seed: UInt64, parameter: UInt32
  ) {
    let key = PhiloxKey(seed: seed, purpose: .initialization, layer: parameter)
    for element in values.indices {
      values[element] = deviation * Normal.sample(key.bits(element: UInt64(element)))
    }
  }

  /// Uniform with the variance 2 / (fanIn + fanOut) (Glorot and Bengio 2010): the bound is √(6 / (fanIn + fanOut)).
  static func fillGlorotUniform(
    _ values: UnsafeMutableBufferPointer<Double>, fanIn: Int, fanOut: Int, seed: UInt64, parameter: UInt32
  ) {
    // In double, where the sum cannot overflow.
    let fans = Double(fanIn) + Double(fanOut)
    fillUniform(values, bound: fans > 0 ? (6 / fans).squareRoot() : 0, seed: seed, parameter: parameter)
  }

  /// Doubles of scratch memory that ``fillOrthogonal(_:rows:columns:scratch:seed:parameter:)`` needs: none for a matrix
  /// that is not taller than wide, whose rows it can work on in place.
  static func orthogonalScratchCount(rows: Int, columns: Int) -> Int { rows > columns ? rows * columns : 0 }

  /// A random matrix with orthonormal rows (if `rows <= columns`) or columns, uniform among all of them (Haar measure).
  ///
  /// The shorter side's vectors v₀, v₁, … are filled with normal numbers (element `i·length + j` is vᵢⱼ) and made
  /// orthonormal one after the other (Saxe et al. 2014, arXiv:1312.6120). This is the QR decomposition with a positive
  /// diagonal of R, which is the choice of signs that gives the Haar measure (Mezzadri 2007, arXiv:math-ph/0609050).
  /// Modified Gram-Schmidt, twice for each vector: once loses orthogonality with the condition of the matrix, twice
  /// does not (Giraud et al. 2005).
  ///
  /// - Parameters:
  ///   - values: Receives the matrix `[rows, columns]`, row-major.
  ///   - scratch: At least ``orthogonalScratchCount(rows:columns:)`` elements; its contents are lost.
  /// - Complexity: O(rows · columns · min(rows, columns)), about 4 multiply-adds for each.
  static func fillOrthogonal(
    _ values: UnsafeMutableBufferPointer<Double>, rows: Int, columns: Int,
    scratch: UnsafeMutableBufferPointer<Double>, seed: UInt64, parameter: UInt32
  ) {
    let isTall = rows > columns
    let (count, length) = isTall ? (columns, rows) : (rows, columns)
    precondition(values.count >= rows * columns)
    precondition(scratch.count >= orthogonalScratchCount(rows: rows, columns: columns))
    guard count > 0, let vectors = isTall ? scratch.baseAddress : values.baseAddress else { return }
    let key = PhiloxKey(seed: seed, purpose: .initialization, layer: parameter)

    for index in 0..<count {
      let vector = vectors + index * length
      // A vector that lies in the span of those before it has no direction left: draw another. It never happens with
      // normal numbers but for rounding, so a few attempts are plenty; the elements beyond the matrix are fresh ones.
      for attempt in 0..<8 {
        let first = UInt64(attempt) * UInt64(count * length) + UInt64(index * length)
        for element in 0..<length { vector[element] = Normal.sample(key.bits(element: first + UInt64(element))) }
        let before = dot(vector, vector, length)
        for _ in 0..<2 {
          for other in 0..<index {
            let previous = vectors + other * length
            let projection = dot(previous, vector, length)
            for element in 0..<length { vector[element] -= projection * previous[element] }
          }
        }
        let after = dot(vector, vector, length)
        let norm = after.squareRoot()
        if norm > 0 { for element in 0..<length { vector[element] /= norm } }
        // Less than that left over is rounding error, which is not orthogonal to anything.
        if after > before * 1e-20 { break }
      }
    }

    if isTall {
      for row in 0..<rows {
        for column in 0..<columns { values[row * columns + column] = vectors[column * rows + row] }
      }
    }
  }

  /// A sum in an order of its own, four interleaved chains: quicker than one, and the same on every platform.
  private static func dot(_ x: UnsafePointer<Double>, _ y: UnsafePointer<Double>, _ count: Int) -> Double {
    var (sum0, sum1, sum2, sum3) = (0.0, 0.0, 0.0, 0.0)
    var index = 0
    while index + 4 <= count {
      sum0 += x[index] * y[index]
      sum1 += x[index + 1] * y[index + 1]
      sum2 += x[index + 2] * y[index + 2]
      sum3 += x[index + 3] * y[index + 3]
      index += 4
    }
    while index < count {
      sum0 += x[index] * y[index]
      index += 1
    }
    return (sum0 + sum1) + (sum2 + sum3)
  }
}
