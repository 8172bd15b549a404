import RNNKernels

/// How a token is drawn from logits.
public struct SamplingOptions: Equatable, Sendable {
  /// Divides the logits; above 0.
  public var temperature = 1.0
  /// Only the k most likely; 0 means all.
  public var topK = 0
  /// Nucleus: only the most likely whose probabilities add up to this; (0, 1]  (arXiv:1904.09751).
  public var topP = 1.0
  /// The most likely, of equals the first.
  public var isGreedy = false
  /// The draw is a function of these two.
  public var seed: UInt64 = 0
  public var position: UInt64 = 0

  public init() {}
}

/// Draws an index from softmax(logits / temperature), restricted as the options say. Equal logits are ordered by index.
///
/// Probabilities are in double with a sum in the order of the ranks, and the draw is keyed by (seed, position): the same
/// bytes from every language.
public func sample<Scalar: KernelScalar>(
  _ logits: UnsafeBufferPointer<Scalar>, _ options: SamplingOptions
) throws(RNNError) -> Int {
  guard !logits.isEmpty, logits.count < Int(Int32.max) else {
    throw RNNError(.invalidArgument, "logits_count is \(logits.count), expected at least 1")
  }
  guard options.temperature > 0, options.temperature.isFinite else {
    throw RNNError(.invalidArgument, "temperature is \(options.temperature), expected above 0 and finite")
  }
  guard options.topP > 0, options.topP <= 1 else {
    throw RNNError(.invalidArgument, "top_p is \(options.topP), expected above 0 and at most 1")
  }
  guard options.topK >= 0 else { throw RNNError(.invalidArgument, "top_k is too large") }
  var best = 0
  for (i, logit) in logits.enumerated() {
    guard !logit.isNaN, logit < .infinity else {
      throw RNNError(.invalidArgument, "logits[\(i)] is \(logit), expected a number below infinity")
    }
    if logit > logits[best] { best = i }
  }
  guard logits[best] > -.infinity else { throw RNNError(.invalidArgument, "all logits are -infinity") }
  if options.isGreedy { return best }

  // A stable order: larger logits first, of equals the smaller index.
  let order = try makeBuffer(Int32.self, count: logits.count, for: "sampling")
  let weights = try makeBuffer(Double.self, count: logits.count, for: "sampling")
  var ranks = order.buffer
  for i in ranks.indices { ranks[i] = Int32(i) }
  let needsOrder = options.topK > 0 || options.topP < 1
  if needsOrder {
    ranks.sort { a, b in
      let (x, y) = (logits[Int(a)], logits[Int(b)])
      return x > y || (x == y && a < b)
    }
  }
  let kept = options.topK > 0 ? min(options.topK, logits.count) : logits.count
  return withNumericMode {
    let largest = Double(logits[best])
    var total = 0.0
    for rank in 0..<kept {
      // A temperature so small that it counts as 0 leaves the largest logits alone.
      let difference = Double(logits[Int(ranks[rank])]) - largest
      let exponent = difference / options.temperature
      let weight = difference == 0 ? 1 : exponent > -700 ? Normal.exponential(exponent) : 0
      weights.baseAddress[rank] = weight
      total += weight
    }
    var count = kept
    if options.topP < 1 {
      var sum = 0.0
      for rank in 0..<kept {
        sum += weights.baseAddress[rank]
        if sum >= options.topP * total {
          count = rank + 1
          break
        }
      }
      total = 0
      for rank in 0..<count { total += weights.baseAddress[rank] }
    }
    let key = PhiloxKey(seed: options.seed, purpose: .sampling, layer: 0)
    let target = uniformDouble(key.bits(element: options.position)) * total
    var sum = 0.0
    for rank in 0..<count {
      sum += weights.baseAddress[rank]
      if target < sum { return Int(ranks[rank]) }
    }
    // Rounding left the target at the end: the last one that has a chance.
    var last = count - 1
    while last > 0, weights.baseAddress[last] == 0 { last -= 1 }
    return Int(ranks[last])
  }
}
