import CRNNSupport
import Glibc
#if arch(x86_64)
  import RNNKernelsV3
  import RNNKernelsV4
#endif
import RNNKernelsBaseline

/// A kernel behind a C function pointer: typed here, so that a wrong argument struct does not compile.
@frozen
public struct Kernel<Arguments>: Sendable {
  @usableFromInline let function: rnn_cpu_kernel

  init(_ function: rnn_cpu_kernel) { self.function = function }

  @inlinable @inline(__always)
  public func callAsFunction(_ arguments: Arguments) {
    withUnsafePointer(to: arguments) { function($0) }
  }
}

/// A kernel and its arguments, which stay where they are: a call that has nothing left to prepare.
@frozen
public struct PreparedKernel: BitwiseCopyable, Sendable {
  @usableFromInline let function: rnn_cpu_kernel
  @usableFromInline nonisolated(unsafe) let arguments: UnsafeRawPointer

  @inlinable @inline(__always)
  init(function: rnn_cpu_kernel, arguments: UnsafeRawPointer) {
    self.function = function
    self.arguments = arguments
  }

  @inlinable @inline(__always)
  public func callAsFunction() { function(arguments) }
}

extension Kernel {
  /// The call with arguments that are read anew each time.
  @inlinable @inline(__always)
  public func prepared(_ arguments: UnsafePointer<Arguments>) -> PreparedKernel {
    PreparedKernel(function: function, arguments: UnsafeRawPointer(arguments))
  }
}

/// The kernels of one instruction set in one precision.
public struct KernelTable<Scalar: KernelScalar>: Sendable {
  /// Outputs in a packed panel.
  public let panelWidth: Int
  public let product: Kernel<ProductArguments<Scalar>>
  public let plainProduct: Kernel<ProductArguments<Scalar>>
  public let weightGradient: Kernel<WeightGradientArguments<Scalar>>
  public let sigmoid: Kernel<ElementArguments<Scalar>>
  public let tanh: Kernel<ElementArguments<Scalar>>
  public let activate: Kernel<ActivateArguments<Scalar>>
  public let add: Kernel<AddArguments<Scalar>>
  public let vanillaForward: Kernel<GateArguments<Scalar>>
  public let vanillaBackward: Kernel<GateArguments<Scalar>>
  public let lstmForward: Kernel<GateArguments<Scalar>>
  public let lstmBackward: Kernel<GateArguments<Scalar>>
  public let gruGates: Kernel<GateArguments<Scalar>>
  public let gruBeforeForward: Kernel<GateArguments<Scalar>>
  public let gruAfterForward: Kernel<GateArguments<Scalar>>
  public let gruBackward: Kernel<GateArguments<Scalar>>
  public let gruBeforeBackward: Kernel<GateArguments<Scalar>>
  public let gruAfterBackward: Kernel<GateArguments<Scalar>>
  public let softmax: Kernel<SoftmaxArguments<Scalar>>
  public let columnSums: Kernel<ColumnSumArguments<Scalar>>
  public let sumOfSquares: Kernel<SquareSumArguments<Scalar>>
  public let multiplyAdd: Kernel<MultiplyAddArguments<Scalar>>
  public let softmaxForward: Kernel<RowArguments<Scalar>>
  public let softmaxBackward: Kernel<RowArguments<Scalar>>
  public let layerNormForward: Kernel<RowArguments<Scalar>>
  public let layerNormBackward: Kernel<RowArguments<Scalar>>
  /// Elements of a vector: units in a panel of a fused step.
  public let vectorWidth: Int
  /// Units in the last panel of a fused step where so few are left; 0 where all panels have whole vectors.
  public let halfWidth: Int
  public let fusedSequence: Kernel<FusedArguments<Scalar>>
  /// Rows that fused steps of one row multiply at once beside themselves; 0 where they do not.
  public let besideRows: Int

  init(_ table: rnn_cpu_kernels) {
    panelWidth = table.panel_width
    product = Kernel(table.product)
    plainProduct = Kernel(table.plain_product)
    weightGradient = Kernel(table.weight_gradient)
    sigmoid = Kernel(table.sigmoid)
    tanh = Kernel(table.tanh)
    activate = Kernel(table.activate)
    add = Kernel(table.add)
    vanillaForward = Kernel(table.vanilla_forward)
    vanillaBackward = Kernel(table.vanilla_backward)
    lstmForward = Kernel(table.lstm_forward)
    lstmBackward = Kernel(table.lstm_backward)
    gruGates = Kernel(table.gru_gates)
    gruBeforeForward = Kernel(table.gru_before_forward)
    gruAfterForward = Kernel(table.gru_after_forward)
    gruBackward = Kernel(table.gru_backward)
    gruBeforeBackward = Kernel(table.gru_before_backward)
    gruAfterBackward = Kernel(table.gru_after_backward)
    softmax = Kernel(table.softmax)
    columnSums = Kernel(table.column_sums)
    sumOfSquares = Kernel(table.sum_of_squares)
    multiplyAdd = Kernel(table.multiply_add)
    softmaxForward = Kernel(table.softmax_forward)
    softmaxBackward = Kernel(table.softmax_backward)
    layerNormForward = Kernel(table.layer_norm_forward)
    layerNormBackward = Kernel(table.layer_norm_backward)
    vectorWidth = table.vector_width
    halfWidth = table.half_width
    fusedSequence = Kernel(table.fused_sequence)
    besideRows = table.beside_rows
  }

  /// Makes a table by letting an instruction set's kernel module fill it.
  init(filledBy fill: (UnsafeMutablePointer<rnn_cpu_kernels>) -> Void) {
    self.init(
      withUnsafeTemporaryAllocation(of: rnn_cpu_kernels.self, capacity: 1) { memory -> rnn_cpu_kernels in
        // capacity 1: there is an address.
        fill(memory.baseAddress!)
        return memory[0]
      })
  }
}

/// An element type of networks: float32 or float64.
public protocol KernelScalar: KernelFloat, BitwiseCopyable, LosslessStringConvertible {
  /// The kernels of the process.
  static var kernels: KernelTable<Self> { get }
  static func table(of set: InstructionSet) -> KernelTable<Self>
}

/// The instruction sets that librnn has kernels for. One more is a target, a case here and two lines below.
public enum InstructionSet: String, CaseIterable, Sendable {
  case v4 = "x86-64-v4"
  case v3 = "x86-64-v3"
  case baseline = "baseline"

  /// Those that this processor and operating system can run, the best first.
  public static let supported: [InstructionSet] = {
    let level = rnn_cpu_level()
    return allCases.filter { set in
      switch set {
      case .v4: level >= 4
      case .v3: level >= 3
      case .baseline: true
      }
    }
  }()

  /// Chosen once per process: RNN_FORCE_KERNELS if it names a supported set, otherwise the best.
  public static let current: InstructionSet = {
    if let name = getenv("RNN_FORCE_KERNELS"), let forced = InstructionSet(rawValue: String(cString: name)),
      supported.contains(forced)
    {
      return forced
    }
    return supported.first ?? .baseline
  }()
}

extension Float: KernelScalar {
  public static let kernels = table(of: .current)

  public static func table(of set: InstructionSet) -> KernelTable<Float> {
    switch set {
    #if arch(x86_64)
      case .v4: KernelTable(filledBy: rnn_cpu_fill_v4_f32)
      case .v3: KernelTable(filledBy: rnn_cpu_fill_v3_f32)
    #else
      case .v4, .v3: KernelTable(filledBy: rnn_cpu_fill_baseline_f32)
    #endif
    case .baseline: KernelTable(filledBy: rnn_cpu_fill_baseline_f32)
    }
  }
}

extension Double: KernelScalar {
  public static let kernels = table(of: .current)

  public static func table(of set: InstructionSet) -> KernelTable<Double> {
    switch set {
    #if arch(x86_64)
      case .v4: KernelTable(filledBy: rnn_cpu_fill_v4_f64)
      case .v3: KernelTable(filledBy: rnn_cpu_fill_v3_f64)
    #else
      case .v4, .v3: KernelTable(filledBy: rnn_cpu_fill_baseline_f64)
    #endif
    case .baseline: KernelTable(filledBy: rnn_cpu_fill_baseline_f64)
    }
  }
}
