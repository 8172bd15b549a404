// x86-64-v3: AVX2 and fused multiply-add, 16 registers of 256 bits.
import CRNNSupport
import RNNKernelBodies

enum Float32Target: KernelTarget {
  typealias Scalar = Float
  typealias Vector = SIMD8<Float>
  @inline(__always) static func multiplyAdd(_ a: Vector, _ b: Vector, _ c: Vector) -> Vector { c.addingProduct(a, b) }
  @inline(__always) static func nanMask(_ v: Vector) -> Mask { ~unsafeBitCast(v .== v, to: Mask.self) }
  @inline(__always) static var panelVectors: Int { 3 }
  @inline(__always) static var tileRows: Int { 4 }
}

enum Float64Target: KernelTarget {
  typealias Scalar = Double
  typealias Vector = SIMD4<Double>
  @inline(__always) static func multiplyAdd(_ a: Vector, _ b: Vector, _ c: Vector) -> Vector { c.addingProduct(a, b) }
  @inline(__always) static func nanMask(_ v: Vector) -> Mask { ~unsafeBitCast(v .== v, to: Mask.self) }
  @inline(__always) static var panelVectors: Int { 3 }
  @inline(__always) static var tileRows: Int { 4 }
}

@_cdecl("rnn_cpu_fill_v3_f32") @implementation
public func rnn_cpu_fill_v3_f32(_ table: UnsafeMutablePointer<rnn_cpu_kernels>) {
  fillFloat32(table)
}

@_cdecl("rnn_cpu_fill_v3_f64") @implementation
public func rnn_cpu_fill_v3_f64(_ table: UnsafeMutablePointer<rnn_cpu_kernels>) {
  fillFloat64(table)
}
