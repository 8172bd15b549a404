// Operators of a network over the features of each row: softmax and layer normalisation, forward and backward.

extension KernelTarget {
  /// ln x for a finite x >= 1: x = 2^n m, ln x = n ln 2 + ln(1 + (m - 1)). NaN passes.
  @inlinable @inline(__always)
  static func logarithm(ofAtLeastOne x: Vector) -> Vector {
    typealias S = Vector.Scalar
    let power = (bits(x) &>> Mask(repeating: S.exponentShift)) &- Mask(repeating: S.exponentBias)
    let magic = Vector(repeating: S.roundingMagic)
    let n = vector(bits(magic) &+ power) - magic
    let mantissa = bits(x) & Mask(repeating: (1 &<< S.exponentShift) &- 1)
    let f = vector(mantissa | bits(Vector(repeating: 1))) - Vector(repeating: 1)
    let low = multiplyAdd(n, Vector(repeating: S.ln2Low), logarithmOfOnePlus(f))
    return vector(bits(multiplyAdd(n, Vector(repeating: S.ln2High), low)) | nanMask(x))
  }

  /// 1 / √(variance + epsilon) of a row, whose x - mean comes into `centred`.
  @inlinable @inline(__always)
  static func centre(
    _ values: UnsafePointer<Scalar>, _ a: RowArguments<Scalar>, to centred: UnsafeMutablePointer<Scalar>
  ) -> Vector {
    let mean = Vector(repeating: laneSum(columns: a.columns) { c, count in load(values + c, lanes: count) } / a.count)
    let squares = laneSum(columns: a.columns) { c, count in
      store(load(values + c, lanes: count) - mean, centred + c, lanes: count)
      // Read back: what is past the last column is zero there.
      let x = load(UnsafePointer(centred) + c, lanes: count)
      return x * x
    }
    return Vector(repeating: 1 / (squares / a.count + a.epsilon).squareRoot())
  }
}

/// values = a ⊙ b + addend, over rows of their own strides; stride 0 is the same row for all.
@_alwaysEmitIntoClient @inline(__always)
public func multiplyAddBody<T: KernelTarget>(_ target: T.Type, _ a: MultiplyAddArguments<T.Scalar>) {
  T.forEachVector(rows: a.rows, columns: a.columns) { row, i, lanes in
    let x = T.load(a.left + (row &* a.leftStride &+ i), lanes: lanes)
    let y = T.load(a.right + (row &* a.rightStride &+ i), lanes: lanes)
    let values = a.values + (row &* a.valuesStride &+ i)
    if let addend = a.addend {
      T.store(T.multiplyAdd(x, y, T.load(addend + (row &* a.addendStride &+ i), lanes: lanes)), values, lanes: lanes)
    } else {
      T.store(x * y, values, lanes: lanes)
    }
  }
}

/// Y = softmax(X) of each row, or its logarithm, X - max - ln Σ e^(X - max). Reads `values`, writes `result`.
@_alwaysEmitIntoClient @inline(__always)
public func softmaxForwardBody<T: KernelTarget>(_ target: T.Type, _ a: RowArguments<T.Scalar>) {
  var row = 0
  while row < a.rows {
    let values = a.values + row &* a.columns, result = a.result + row &* a.columns
    let (largest, sum) = T.exponentials(of: values, columns: a.columns, to: result)
    let maximum = T.Vector(repeating: largest), total = T.Vector(repeating: sum)
    let logarithm = a.isLogarithm ? T.logarithm(ofAtLeastOne: total) : total
    T.forEachVector(rows: 1, columns: a.columns) { _, c, lanes in
      let y =
        a.isLogarithm
        ? T.load(values + c, lanes: lanes) - maximum - logarithm
        : T.load(UnsafePointer(result) + c, lanes: lanes) / total
      T.store(y, result + c, lanes: lanes)
    }
    row &+= 1
  }
}

/// With P = softmax(X): ∂L/∂X = P ⊙ (∂L/∂Y - Σ ∂L/∂Y ⊙ P), and ∂L/∂Y - P Σ ∂L/∂Y for the logarithm.
///
/// Reads `values` (X) and `gradient` (∂L/∂Y), adds to `result` (∂L/∂X); `scratch` has room for a row.
@_alwaysEmitIntoClient @inline(__always)
public func softmaxBackwardBody<T: KernelTarget>(_ target: T.Type, _ a: RowArguments<T.Scalar>) {
  let probabilities = UnsafePointer(a.scratch)
  var row = 0
  while row < a.rows {
    let gradient = UnsafePointer(a.gradient) + row &* a.columns, result = a.result + row &* a.columns
    let (_, sum) = T.exponentials(of: a.values + row &* a.columns, columns: a.columns, to: a.scratch)
    let total = T.Vector(repeating: sum)
    let inner = T.laneSum(columns: a.columns) { c, count in
      let p = T.load(probabilities + c, lanes: count) / total
      T.store(p, a.scratch + c, lanes: count)
      let dy = T.load(gradient + c, lanes: count)
      return a.isLogarithm ? dy : dy * p
    }
    let s = T.Vector(repeating: inner)
    T.forEachVector(rows: 1, columns: a.columns) { _, c, lanes in
      let p = T.load(probabilities + c, lanes: lanes), dy = T.load(gradient + c, lanes: lanes)
      let dx = a.isLogarithm ? dy - p * s : p * (dy - s)
      T.store(T.load(UnsafePointer(result) + c, lanes: lanes) + dx, result + c, lanes: lanes)
    }
    row &+= 1
  }
}

/// Y = X̂ ⊙ weight + bias, X̂ = (X - mean) / √(variance + epsilon) of each row. Reads `values`, `weight` and `bias`; writes `result`.
@_alwaysEmitIntoClient @inline(__always)
public func layerNormForwardBody<T: KernelTarget>(_ target: T.Type, _ a: RowArguments<T.Scalar>) {
  var row = 0
  while row < a.rows {
    let result = a.result + row &* a.columns
    let scale = T.centre(a.values + row &* a.columns, a, to: result)
    T.forEachVector(rows: 1, columns: a.columns) { _, c, lanes in
      let x = T.load(UnsafePointer(result) + c, lanes: lanes) * scale
      let y = T.multiplyAdd(x, T.load(a.weight + c, lanes: lanes), T.load(a.bias + c, lanes: lanes))
      T.store(y, result + c, lanes: lanes)
    }
    row &+= 1
  }
}

/// With G = ∂L/∂Y ⊙ weight: ∂L/∂X = (G - mean(G) - X̂ mean(G ⊙ X̂)) / √(variance + epsilon).
///
/// Reads `values` (X), `weight` and `gradient` (∂L/∂Y); adds to `result` (∂L/∂X), and leaves ∂L/∂Y ⊙ X̂ in `gradient`, the sums of
/// whose columns are ∂L/∂weight. `scratch` has room for a row.
@_alwaysEmitIntoClient @inline(__always)
public func layerNormBackwardBody<T: KernelTarget>(_ target: T.Type, _ a: RowArguments<T.Scalar>) {
  let normal = UnsafePointer(a.scratch)
  var row = 0
  while row < a.rows {
    let gradient = a.gradient + row &* a.columns, result = a.result + row &* a.columns
    let scale = T.centre(a.values + row &* a.columns, a, to: a.scratch)
    let first = T.laneSum(columns: a.columns) { c, count in
      T.store(T.load(normal + c, lanes: count) * scale, a.scratch + c, lanes: count)
      return T.load(UnsafePointer(gradient) + c, lanes: count) * T.load(a.weight + c, lanes: count)
    }
    let second = T.laneSum(columns: a.columns) { c, count in
      let g = T.load(UnsafePointer(gradient) + c, lanes: count) * T.load(a.weight + c, lanes: count)
      return g * T.load(normal + c, lanes: count)
    }
    let mean = T.Vector(repeating: first / a.count), meanOfProduct = T.Vector(repeating: second / a.count)
    T.forEachVector(rows: 1, columns: a.columns) { _, c, lanes in
      let dy = T.load(UnsafePointer(gradient) + c, lanes: lanes), x = T.load(normal + c, lanes: lanes)
      let dx = scale * (dy * T.load(a.weight + c, lanes: lanes) - mean - x * meanOfProduct)
      T.store(T.load(UnsafePointer(result) + c, lanes: lanes) + dx, result + c, lanes: lanes)
      T.store(dy * x, gradient + c, lanes: lanes)
    }
    row &+= 1
  }
}
