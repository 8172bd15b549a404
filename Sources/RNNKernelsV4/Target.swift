// x86-64-v4: AVX-512, 32 registers of 512 bits.
import CRNNSupport
import RNNKernelBodies

enum Float32Target: KernelTarget {
  typealias Scalar = Float
  typealias Half = Float32HalfTarget
  typealias Vector = SIMD16<Float>
  @inline(__always) static func multiplyAdd(_ a: Vector, _ b: Vector, _ c: Vector) -> Vector { c.addingProduct(a, b) }
  @inline(__always) static func nanMask(_ v: Vector) -> Mask { ~unsafeBitCast(v .== v, to: Mask.self) }
  @inline(__always) static var panelVectors: Int { 3 }
  @inline(__always) static var tileRows: Int { 8 }
}

/// For up to eight units that a layer has beyond whole vectors: 200 units would be computed as 208, and 24 as 32. In registers of 256 bits,
/// of which the processor multiplies and adds two at a time.
enum Float32HalfTarget: KernelTarget {
  typealias Scalar = Float
  typealias Vector = SIMD8<Float>
  @inline(__always) static func multiplyAdd(_ a: Vector, _ b: Vector, _ c: Vector) -> Vector { c.addingProduct(a, b) }
  @inline(__always) static func nanMask(_ v: Vector) -> Mask { ~unsafeBitCast(v .== v, to: Mask.self) }
  // Products in panels are made with whole vectors.
  @inline(__always) static var panelVectors: Int { 0 }
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
