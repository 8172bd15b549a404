import RNNKernels

/// What of the process, not of a network, can be asked and chosen.
public enum Runtime {
  /// The kernels in use: "x86-64-v4", "x86-64-v3" or "baseline". Chosen once per process; see rnn_kernels_name.
  public static var kernelsName: String { InstructionSet.current.rawValue }

  /// The most threads that one call may use, its own included. The number changes no bit.
  public static var threadLimit: Int { ThreadPool.limit }

  public static func setThreadLimit(_ count: Int) throws(RNNError) {
    guard (1...1024).contains(count) else {
      throw RNNError(.invalidArgument, "count is \(UInt(bitPattern: count)), expected 1 to 1024")
    }
    ThreadPool.limit = count
  }

  /// Who computes large products: "none", or OpenBLAS's description of itself.
  public static var blasName: String { BLAS.name }

  /// Products that OpenBLAS has computed in this process.
  public static var blasProductCount: Int { BLAS.calls }

  /// Chooses who computes large matrix products from now on: "none" or "openblas". With OpenBLAS the same-bits contract does
  /// not hold.
  ///
  /// - Throws: `invalidArgument` for another name, `unsupported` if OpenBLAS cannot be loaded.
  public static func selectBLAS(_ name: String) throws(RNNError) {
    do throws(BLAS.Failure) {
      try BLAS.select(name)
    } catch {
      switch error {
      case .unknownName: throw RNNError(.invalidArgument, "name is \(quoted(name)), expected \"none\" or \"openblas\"")
      case .unavailable(let reason): throw RNNError(.unsupported, "OpenBLAS cannot be loaded: \(reason)")
      }
    }
  }
}
