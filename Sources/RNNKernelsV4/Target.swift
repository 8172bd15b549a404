// x86-64-v4: AVX-512, 32 registers of 512 bits.
import CRNNSupport
import RNNKernelBodies

enum Float32Target: KernelTarget {
  typealias Scalar = Float
  typealias Vector = SIMD16<Float>
  @inline(__always) static func multiplyAdd(_ a: Vector, _ b: Vector, _ c: Vector) -> Vector { c.addingProduct(a, b) }
  @inline(__always) static func nanMask(_ v: Vector) -> Mask { ~unsafeBitCast(v .== v, to: Mask.self) }
  @inline(__always) static var panelVectors: Int { 3 }
  @inline(__always) static var tileRows: Int { 8 }
}

enum Float64Target: KernelTarget {
  typealias Scalar = Double
  typealias Vector = SIMD8<Double>
  @inline(__always) static func multiplyAdd(_ a: Vector, _ b: Vector, _ c: Vector) -> Vector { c.addingProduct(a, b) }
  @inline(__always) static func nanMask(_ v: Vector) -> Mask { ~unsafeBitCast(v .== v, to: Mask.self) }
  @inline(__always) static var panelVectors: Int { 3 }
  @inline(__always) static var tileRows: Int { 8 }
}

@_cdecl("rnn_cpu_fill_v4_f32") @implementation
public func rnn_cpu_fill_v4_f32(_ table: UnsafeMutablePointer<rnn_cpu_kernels>) {
  fillFloat32(table)
}

@_cdecl("rnn_cpu_fill_v4_f64") @implementation
public func rnn_cpu_fill_v4_f64(_ table: UnsafeMutablePointer<rnn_cpu_kernels>) {
  fillFloat64(table)
}
