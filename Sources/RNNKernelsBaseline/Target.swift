// Any processor of the architecture: 128-bit vectors, no fused multiply-add.
import CRNNSupport
import RNNKernelBodies

enum Float32Target: KernelTarget {
  typealias Scalar = Float
  typealias Vector = SIMD4<Float>
  @inline(__always) static func multiplyAdd(_ a: Vector, _ b: Vector, _ c: Vector) -> Vector { a * b + c }
  @inline(__always) static func nanMask(_ v: Vector) -> Mask { ~unsafeBitCast(v .== v, to: Mask.self) }
  @inline(__always) static var panelVectors: Int { 2 }
  @inline(__always) static var tileRows: Int { 4 }
}

enum Float64Target: KernelTarget {
  typealias Scalar = Double
  typealias Vector = SIMD2<Double>
  @inline(__always) static func multiplyAdd(_ a: Vector, _ b: Vector, _ c: Vector) -> Vector { a * b + c }
  @inline(__always) static func nanMask(_ v: Vector) -> Mask { ~unsafeBitCast(v .== v, to: Mask.self) }
  @inline(__always) static var panelVectors: Int { 2 }
  @inline(__always) static var tileRows: Int { 4 }
}

@_cdecl("rnn_cpu_fill_baseline_f32") @implementation
public func rnn_cpu_fill_baseline_f32(_ table: UnsafeMutablePointer<rnn_cpu_kernels>) {
  fillFloat32(table)
}

@_cdecl("rnn_cpu_fill_baseline_f64") @implementation
public func rnn_cpu_fill_baseline_f64(_ table: UnsafeMutablePointer<rnn_cpu_kernels>) {
  fillFloat64(table)
}
