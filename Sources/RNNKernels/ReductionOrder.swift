@_exported import RNNKernelBodies

/// The order of every product's sums: the one place that decides it (docs/contract.md).
///
/// It depends on the weight matrix alone, never on rows, time steps, chunks, threads or instruction set; so none of these can
/// change a bit.
///
/// - one chain per output, from start with k ascending, where the outputs of one row fill the multiply-add pipeline;
/// - two chains (k even, k odd) where one row would wait for its own additions: few outputs and a short sum;
/// - 16 lanes (8 for double) for the narrowest outputs, whose vectors would be mostly padding.
///
/// - Parameters:
///   - depth: K, terms of each sum.
///   - outputs: M, sums in each row.
public func reductionChains(depth: Int, outputs: Int) -> ReductionOrder {
  if outputs <= 4 && depth >= 16 { return .lanes }
  if outputs <= 64 && depth <= 32 { return .double }
  return .single
}
