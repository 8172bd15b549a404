import CRNN
import RNN

extension rnn_cross_entropy_options: SizedStruct {}
extension rnn_mse_options: SizedStruct {}
extension rnn_ctc_options: SizedStruct {}
extension rnn_clip_report: SizedStruct {}
extension rnn_optimizer_options: SizedStruct {}
extension rnn_trainer_options: SizedStruct {}
extension rnn_step_report: SizedStruct {}
extension rnn_sample_options: SizedStruct {}

extension Reduction {
  init(constant: Int32) throws(RNNError) {
    switch constant {
    case 0: self = .mean
    case 1: self = .sum
    case 2: self = .none
    default: throw unknown("reduction", constant)
    }
  }
}

extension ClipMode {
  init(constant: Int32) throws(RNNError) {
    switch constant {
    case 0: self = .globalNorm
    case 1: self = .tensorNorm
    case 2: self = .value
    default: throw unknown("clip_mode", constant)
    }
  }
}

private func crossEntropy<Scalar: KernelScalar>(
  _ rows: Int, _ classes: Int, _ logits: UnsafePointer<Scalar>?, _ logitsCount: Int, _ targets: UnsafePointer<Int64>?,
  _ targetsCount: Int, _ classWeights: UnsafePointer<Scalar>?, _ classWeightsCount: Int,
  _ loss: UnsafeMutablePointer<Double>?, _ lossCount: Int, _ gradient: UnsafeMutablePointer<Scalar>?, _ gradientCount: Int,
  _ options: UnsafePointer<rnn_cross_entropy_options>?
) throws(RNNError) {
  let options = try RNNExports.options(options)
  let values = try array(logits, logitsCount, named: "logits")
  let targetValues = try array(targets, targetsCount, named: "targets")
  let weights = try array(classWeights, classWeightsCount, named: "class_weights")
  let losses = try array(loss, lossCount, named: "out_loss")
  let target = try optionalArray(gradient, gradientCount, named: "out_gradient")
  try checkDisjoint(losses, "out_loss", values, "logits")
  try checkDisjoint(losses, "out_loss", targetValues, "targets")
  try checkDisjoint(losses, "out_loss", weights, "class_weights")
  if let target {
    if UnsafePointer(target.baseAddress) != values.baseAddress {
      try checkDisjoint(target, "out_gradient", values, "logits")
    }
    try checkDisjoint(target, "out_gradient", targetValues, "targets")
    try checkDisjoint(target, "out_gradient", weights, "class_weights")
    try checkDisjoint(target, "out_gradient", UnsafeBufferPointer(losses), "out_loss")
  }
  let function = CrossEntropy(
    reduction: try Reduction(constant: options.reduction),
    ignoreIndex: try flag(options.has_ignore_index, named: "has_ignore_index") ? options.ignore_index : -100,
    labelSmoothing: options.label_smoothing)
  try function.evaluate(
    rows: rows, classes: classes, logits: values, targets: targetValues, classWeights: classWeights == nil ? nil : weights,
    losses: losses, gradient: target)
}

private func squaredError<Scalar: KernelScalar>(
  _ count: Int, _ prediction: UnsafePointer<Scalar>?, _ predictionCount: Int, _ target: UnsafePointer<Scalar>?,
  _ targetCount: Int, _ loss: UnsafeMutablePointer<Double>?, _ lossCount: Int, _ gradient: UnsafeMutablePointer<Scalar>?,
  _ gradientCount: Int, _ options: UnsafePointer<rnn_mse_options>?
) throws(RNNError) {
  let options = try RNNExports.options(options)
  let x = try array(prediction, predictionCount, named: "prediction")
  let y = try array(target, targetCount, named: "target")
  let losses = try array(loss, lossCount, named: "out_loss")
  let gradients = try optionalArray(gradient, gradientCount, named: "out_gradient")
  try checkDisjoint(losses, "out_loss", x, "prediction")
  try checkDisjoint(losses, "out_loss", y, "target")
  if let gradients {
    if UnsafePointer(gradients.baseAddress) != x.baseAddress {
      try checkDisjoint(gradients, "out_gradient", x, "prediction")
    }
    try checkDisjoint(gradients, "out_gradient", y, "target")
    try checkDisjoint(gradients, "out_gradient", UnsafeBufferPointer(losses), "out_loss")
  }
  try MeanSquaredError(reduction: try Reduction(constant: options.reduction)).evaluate(
    count: count, prediction: x, target: y, losses: losses, gradient: gradients)
}

private func temporalClassification<Scalar: KernelScalar>(
  _ T: Int, _ N: Int, _ classes: Int, _ S: Int, _ logits: UnsafePointer<Scalar>?, _ logitsCount: Int,
  _ targets: UnsafePointer<Int64>?, _ targetsCount: Int, _ inputLengths: UnsafePointer<Int64>?, _ inputLengthsCount: Int,
  _ targetLengths: UnsafePointer<Int64>?, _ targetLengthsCount: Int, _ loss: UnsafeMutablePointer<Double>?, _ lossCount: Int,
  _ gradient: UnsafeMutablePointer<Scalar>?, _ gradientCount: Int, _ options: UnsafePointer<rnn_ctc_options>?
) throws(RNNError) {
  let options = try RNNExports.options(options)
  let values = try array(logits, logitsCount, named: "logits")
  let labels = try array(targets, targetsCount, named: "targets")
  let inputs = try array(inputLengths, inputLengthsCount, named: "input_lengths")
  let outputs = try array(targetLengths, targetLengthsCount, named: "target_lengths")
  let losses = try array(loss, lossCount, named: "out_loss")
  let target = try optionalArray(gradient, gradientCount, named: "out_gradient")
  try checkDisjoint(losses, "out_loss", values, "logits")
  try checkDisjoint(losses, "out_loss", labels, "targets")
  try checkDisjoint(losses, "out_loss", inputs, "input_lengths")
  try checkDisjoint(losses, "out_loss", outputs, "target_lengths")
  if let target {
    if UnsafePointer(target.baseAddress) != values.baseAddress {
      try checkDisjoint(target, "out_gradient", values, "logits")
    }
    try checkDisjoint(target, "out_gradient", labels, "targets")
    try checkDisjoint(target, "out_gradient", inputs, "input_lengths")
    try checkDisjoint(target, "out_gradient", outputs, "target_lengths")
    try checkDisjoint(target, "out_gradient", UnsafeBufferPointer(losses), "out_loss")
  }
  let function = ConnectionistTemporalClassification(
    reduction: try Reduction(constant: options.reduction), blank: options.blank,
    zeroInfinity: try flag(options.zero_infinity, named: "zero_infinity"))
  try function.evaluate(
    sequenceLength: T, batchSize: N, classes: classes, logits: values,
    targets: try flag(options.concatenated, named: "concatenated") ? .concatenated(labels) : .padded(labels, width: S),
    inputLengths: inputLengths == nil ? nil : inputs, targetLengths: targetLengths == nil ? nil : outputs, losses: losses,
    gradient: target)
}

/// Refuses tensors that share memory: with each other, or with the arrays that lead to them.
private func checkDisjoint<Scalar: KernelScalar>(
  _ tensors: [UnsafeMutableBufferPointer<Scalar>], _ pointers: UnsafeBufferPointer<UnsafeMutablePointer<Scalar>?>,
  _ counts: UnsafeBufferPointer<Int>
) throws(RNNError) {
  for tensor in tensors {
    try checkDisjoint(tensor, "a tensor of gradients", pointers, "gradients")
    try checkDisjoint(tensor, "a tensor of gradients", counts, "counts")
  }
  let present = tensors.filter { !$0.isEmpty }.sorted { UInt(bitPattern: $0.baseAddress) < UInt(bitPattern: $1.baseAddress) }
  for (tensor, next) in zip(present, present.dropFirst()) {
    try checkDisjoint(next, "a tensor of gradients", UnsafeBufferPointer(tensor), "another one")
  }
}

private func clip<Scalar: KernelScalar>(
  _ gradients: UnsafePointer<UnsafeMutablePointer<Scalar>?>?, _ counts: UnsafePointer<Int>?, _ tensorCount: Int,
  _ clipping: GradientClipping, _ report: UnsafeMutablePointer<rnn_clip_report>?
) throws(RNNError) {
  let pointers = try array(gradients, tensorCount, named: "gradients")
  let sizes = try array(counts, tensorCount, named: "counts")
  var tensors: [UnsafeMutableBufferPointer<Scalar>] = []
  for (pointer, size) in zip(pointers, sizes) { tensors.append(try array(pointer, size, named: "a tensor of gradients")) }
  try checkDisjoint(tensors, pointers, sizes)
  try checkInfo(report)
  let result = try clipping.clip(tensors: tensors)
  guard report != nil else { return }
  var info = rnn_clip_report()
  info.total_norm = result.totalNorm
  info.scale = result.scale
  info.largest_index = result.largestIndex
  info.largest_norm = result.largestNorm
  info.non_finite = result.nonFiniteIndex == nil ? 0 : 1
  info.non_finite_index = result.nonFiniteIndex ?? 0
  try fill(report, with: info)
}

// MARK: - Optimizers

extension OptimizerOptions {
  /// Zero is the default of every field.
  init(_ options: rnn_optimizer_options) throws(RNNError) {
    let kind: Kind
    switch options.kind {
    case 0: kind = .sgd
    case 1: kind = .adam
    case 2: kind = .adamW
    case 3: kind = .rmsProp
    default: throw unknown("kind", options.kind)
    }
    self.init(kind, learningRate: options.learning_rate == 0 ? nil : options.learning_rate)
    momentum = options.momentum
    dampening = options.dampening
    weightDecay = options.weight_decay
    nesterov = try flag(options.nesterov, named: "nesterov")
    betas = (options.beta1 == 0 ? 0.9 : options.beta1, options.beta2 == 0 ? 0.999 : options.beta2)
    if options.epsilon != 0 { epsilon = options.epsilon }
    amsgrad = try flag(options.amsgrad, named: "amsgrad")
    if options.alpha != 0 { alpha = options.alpha }
    centered = try flag(options.centered, named: "centered")
  }
}

/// An optimizer of either type.
final class OptimizerObject {
  enum Rule {
    case float32(Optimizer<Float>)
    case float64(Optimizer<Double>)
  }

  let rule: Rule
  init(_ rule: Rule) { self.rule = rule }

  func optimizer<Scalar: KernelScalar>(_ type: Scalar.Type) throws(RNNError) -> Optimizer<Scalar> {
    switch rule {
    case .float32(let optimizer):
      if Scalar.self == Float.self { return unsafeDowncast(optimizer, to: Optimizer<Scalar>.self) }
      throw RNNError(.dtype, "the optimizer is float32, and the call is for float64")
    case .float64(let optimizer):
      if Scalar.self == Double.self { return unsafeDowncast(optimizer, to: Optimizer<Scalar>.self) }
      throw RNNError(.dtype, "the optimizer is float64, and the call is for float32")
    }
  }
}

private func withOptimizer<Result>(
  _ handle: OpaquePointer?, _ body: (OptimizerObject) throws(RNNError) -> Result
) throws(RNNError) -> Result {
  let borrowed = try HandleTable.borrow(handle, .optimizer, exclusively: true, named: "optimizer")
  defer { borrowed.end() }
  return try body(borrowed.object(as: OptimizerObject.self))
}

private func update<Scalar: KernelScalar>(
  _ handle: OpaquePointer?, _ parameters: UnsafeMutablePointer<Scalar>?, _ parametersCount: Int,
  _ gradients: UnsafePointer<Scalar>?, _ gradientsCount: Int
) throws(RNNError) {
  try withOptimizer(handle) { (object) throws(RNNError) in
    let values = try array(parameters, parametersCount, named: "parameters")
    let changes = try array(gradients, gradientsCount, named: "gradients")
    try checkDisjoint(values, "parameters", changes, "gradients")
    try object.optimizer(Scalar.self).update(values, with: changes)
  }
}

@_cdecl("rnn_optimizer_create") @implementation
public func rnn_optimizer_create(
  _ dtype: Int32, _ count: Int, _ options: UnsafePointer<rnn_optimizer_options>!,
  _ out_optimizer: UnsafeMutablePointer<OpaquePointer?>!
) -> rnn_status {
  making(.optimizer, out_optimizer, named: "out_optimizer") { () throws(RNNError) in
    let options = try OptimizerOptions(try RNNExports.options(options))
    switch dtype {
    case 0: return OptimizerObject(.float32(try Optimizer<Float>(options, count: count)))
    case 1: return OptimizerObject(.float64(try Optimizer<Double>(options, count: count)))
    default: throw unknown("dtype", dtype)
    }
  }
}

@_cdecl("rnn_optimizer_learning_rate_set") @implementation
public func rnn_optimizer_learning_rate_set(_ optimizer: OpaquePointer!, _ learning_rate: Double) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withOptimizer(optimizer) { (object) throws(RNNError) in
      switch object.rule {
      case .float32(let optimizer): try optimizer.setLearningRate(learning_rate)
      case .float64(let optimizer): try optimizer.setLearningRate(learning_rate)
      }
    }
  }
}

@_cdecl("rnn_optimizer_destroy") @implementation
public func rnn_optimizer_destroy(_ optimizer: OpaquePointer!) { HandleTable.destroy(optimizer, .optimizer) }

// MARK: - Trainers

final class TrainerObject {
  let trainer: Trainer
  init(_ trainer: Trainer) { self.trainer = trainer }
}

private func withTrainer<Result>(
  _ handle: OpaquePointer?, _ body: (Trainer) throws(RNNError) -> Result
) throws(RNNError) -> Result {
  let borrowed = try HandleTable.borrow(handle, .trainer, exclusively: true, named: "trainer")
  defer { borrowed.end() }
  return try body(borrowed.object(as: TrainerObject.self).trainer)
}

@_cdecl("rnn_trainer_create") @implementation
public func rnn_trainer_create(
  _ network: OpaquePointer!, _ options: UnsafePointer<rnn_trainer_options>!,
  _ optimizer: UnsafePointer<rnn_optimizer_options>!, _ out_trainer: UnsafeMutablePointer<OpaquePointer?>!
) -> rnn_status {
  making(.trainer, out_trainer, named: "out_trainer") { () throws(RNNError) in
    try withNetwork(network) { (object) throws(RNNError) in
      let options = try RNNExports.options(options)
      var what = TrainerOptions()
      switch options.loss {
      case 0:
        what.loss = .crossEntropy(
          ignoreIndex: try flag(options.has_ignore_index, named: "has_ignore_index") ? options.ignore_index : -100)
      case 1: what.loss = .meanSquaredError
      default: throw unknown("loss", options.loss)
      }
      what.clipNorm = options.clip_norm == 0 ? nil : options.clip_norm
      what.clipMode = try ClipMode(constant: options.clip_mode)
      what.updateInterval = options.update_interval == 0 ? nil : options.update_interval
      what.backwardSteps = options.backward_steps == 0 ? nil : options.backward_steps
      what.dropoutSeed = options.dropout_seed
      what.hiddenClip = options.hidden_clip == 0 ? nil : options.hidden_clip
      what.keepsGradientFlow = try flag(options.gradient_flow, named: "gradient_flow")
      return TrainerObject(
        try Trainer(object.network, options: what, optimizer: try OptimizerOptions(try RNNExports.options(optimizer, named: "optimizer"))))
    }
  }
}

extension rnn_step_report {
  fileprivate mutating func take(_ nonFinite: NonFinite?) {
    switch nonFinite {
    case nil: non_finite = RNN_NON_FINITE_NONE
    case .forward(let layer, let step):
      (non_finite, non_finite_layer, non_finite_step) = (RNN_NON_FINITE_FORWARD, layer, step)
    case .loss: non_finite = RNN_NON_FINITE_LOSS
    case .backward(let layer, let step):
      (non_finite, non_finite_layer, non_finite_step) = (RNN_NON_FINITE_BACKWARD, layer, step)
    case .gradient: non_finite = RNN_NON_FINITE_GRADIENT
    }
  }
}

@_cdecl("rnn_trainer_flow") @implementation
public func rnn_trainer_flow(
  _ trainer: OpaquePointer!, _ flow: UnsafePointer<rnn_backward_options>!, _ out_T: UnsafeMutablePointer<Int>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withTrainer(trainer) { (trainer) throws(RNNError) in
      let target = try gradientFlow(try RNNExports.options(flow, named: "flow"))
      try target.checkDisjointArrays()
      if let out_T { try checkAlignment(out_T, "out_T") }
      let steps = try trainer.readFlow(into: target)
      out_T?.pointee = steps
    }
  }
}

@_cdecl("rnn_trainer_snapshot") @implementation
public func rnn_trainer_snapshot(
  _ trainer: OpaquePointer!, _ out_network: UnsafeMutablePointer<OpaquePointer?>!
) -> rnn_status {
  making(.network, out_network, named: "out_network") { () throws(RNNError) in
    try withTrainer(trainer) { (trainer) throws(RNNError) in NetworkObject(try trainer.snapshot()) }
  }
}

@_cdecl("rnn_trainer_update_network") @implementation
public func rnn_trainer_update_network(_ trainer: OpaquePointer!, _ network: OpaquePointer!) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withTrainer(trainer) { (trainer) throws(RNNError) in
      try withNetwork(network) { (object) throws(RNNError) in try trainer.update(object.network) }
    }
  }
}

@_cdecl("rnn_trainer_learning_rate_set") @implementation
public func rnn_trainer_learning_rate_set(_ trainer: OpaquePointer!, _ learning_rate: Double) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withTrainer(trainer) { (trainer) throws(RNNError) in try trainer.setLearningRate(learning_rate) }
  }
}

@_cdecl("rnn_trainer_destroy") @implementation
public func rnn_trainer_destroy(_ trainer: OpaquePointer!) { HandleTable.destroy(trainer, .trainer) }

/// One batch of a trainer, from C's arrays.
private func train<Scalar: KernelScalar>(
  _ handle: OpaquePointer?, learns: Bool, _ T: Int, _ N: Int, _ input: UnsafePointer<Scalar>?, _ inputCount: Int,
  _ tokens: UnsafePointer<Int64>?, _ tokensCount: Int, _ lengths: UnsafePointer<Int64>?, _ lengthsCount: Int,
  _ classTargets: UnsafePointer<Int64>?, _ classTargetsCount: Int, _ valueTargets: UnsafePointer<Scalar>?,
  _ valueTargetsCount: Int, _ state: OpaquePointer?, _ outReport: UnsafeMutablePointer<rnn_step_report>?
) throws(RNNError) {
  try withTrainer(handle) { (trainer) throws(RNNError) in
    try withOptionalState(state) { (state) throws(RNNError) in
      let lengthArray = try array(lengths, lengthsCount, named: "lengths")
      let sequence = SequenceInput(
        sequenceLength: T, batchSize: N, features: try array(input, inputCount, named: "input"),
        tokens: try array(tokens, tokensCount, named: "tokens"), lengths: lengths == nil ? nil : lengthArray)
      let classes = try array(classTargets, classTargetsCount, named: "class_targets")
      let values = try array(valueTargets, valueTargetsCount, named: "value_targets")
      guard classTargets == nil || valueTargets == nil else {
        throw RNNError(.invalidArgument, "class_targets and value_targets are both given; a loss has one of them")
      }
      try checkInfo(outReport)
      let targets: TrainingTargets<Scalar> = valueTargets == nil ? .classes(classes) : .values(values)
      var none: NetworkState?
      let report: StepReport
      if let state {
        report = try run(trainer, learns, sequence, targets, &state.state)
      } else {
        report = try run(trainer, learns, sequence, targets, &none)
      }
      guard outReport != nil else { return }
      var info = rnn_step_report()
      info.loss = report.loss
      info.terms = report.terms
      info.gradient_norm = report.gradientNorm
      info.gradient_scale = report.gradientScale
      info.largest_parameter = report.largestParameter
      info.updates = report.updates
      info.skipped = report.skipped
      info.take(report.nonFinite)
      info.non_finite_parameter = report.nonFinite == nil ? 0 : report.nonFiniteParameter ?? -1
      try fill(outReport, with: info)
    }
  }
}

private func run<Scalar: KernelScalar>(
  _ trainer: Trainer, _ learns: Bool, _ sequence: SequenceInput<Scalar>, _ targets: TrainingTargets<Scalar>,
  _ state: inout NetworkState?
) throws(RNNError) -> StepReport {
  learns
    ? try trainer.step(sequence, targets: targets, state: &state)
    : try trainer.evaluate(sequence, targets: targets, state: &state)
}

// MARK: - Sampling

private func draw<Scalar: KernelScalar>(
  _ logits: UnsafePointer<Scalar>?, _ logitsCount: Int, _ options: UnsafePointer<rnn_sample_options>?,
  _ token: UnsafeMutablePointer<Int64>?
) throws(RNNError) {
  let options = try RNNExports.options(options)
  let values = try array(logits, logitsCount, named: "logits")
  let token = try required(token, named: "out_token")
  try checkDisjoint(UnsafeMutableBufferPointer(start: token, count: 1), "out_token", values, "logits")
  var how = SamplingOptions()
  if options.temperature != 0 { how.temperature = options.temperature }
  how.topK = options.top_k
  if options.top_p != 0 { how.topP = options.top_p }
  how.isGreedy = try flag(options.greedy, named: "greedy")
  how.seed = options.seed
  how.position = options.position
  token.pointee = Int64(try sample(values, how))
}

@_cdecl("rnn_loss_cross_entropy") @implementation
public func rnn_loss_cross_entropy(
  _ rows: Int, _ classes: Int, _ logits: UnsafePointer<Float>!, _ logits_count: Int,
  _ targets: UnsafePointer<Int64>!, _ targets_count: Int,
  _ class_weights: UnsafePointer<Float>!, _ class_weights_count: Int,
  _ out_loss: UnsafeMutablePointer<Double>!, _ loss_count: Int,
  _ out_gradient: UnsafeMutablePointer<Float>!, _ gradient_count: Int,
  _ options: UnsafePointer<rnn_cross_entropy_options>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try crossEntropy(
      rows, classes, logits, logits_count, targets, targets_count, class_weights, class_weights_count, out_loss, loss_count,
      out_gradient, gradient_count, options)
  }
}

@_cdecl("rnn_loss_mse") @implementation
public func rnn_loss_mse(
  _ count: Int, _ prediction: UnsafePointer<Float>!, _ prediction_count: Int,
  _ target: UnsafePointer<Float>!, _ target_count: Int, _ out_loss: UnsafeMutablePointer<Double>!, _ loss_count: Int,
  _ out_gradient: UnsafeMutablePointer<Float>!, _ gradient_count: Int, _ options: UnsafePointer<rnn_mse_options>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try squaredError(
      count, prediction, prediction_count, target, target_count, out_loss, loss_count, out_gradient, gradient_count, options)
  }
}

@_cdecl("rnn_loss_ctc") @implementation
public func rnn_loss_ctc(
  _ T: Int, _ N: Int, _ classes: Int, _ S: Int, _ logits: UnsafePointer<Float>!, _ logits_count: Int,
  _ targets: UnsafePointer<Int64>!, _ targets_count: Int,
  _ input_lengths: UnsafePointer<Int64>!, _ input_lengths_count: Int,
  _ target_lengths: UnsafePointer<Int64>!, _ target_lengths_count: Int,
  _ out_loss: UnsafeMutablePointer<Double>!, _ loss_count: Int,
  _ out_gradient: UnsafeMutablePointer<Float>!, _ gradient_count: Int, _ options: UnsafePointer<rnn_ctc_options>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try temporalClassification(
      T, N, classes, S, logits, logits_count, targets, targets_count, input_lengths, input_lengths_count, target_lengths,
      target_lengths_count, out_loss, loss_count, out_gradient, gradient_count, options)
  }
}

@_cdecl("rnn_gradients_clip") @implementation
public func rnn_gradients_clip(
  _ gradients: UnsafePointer<UnsafeMutablePointer<Float>?>!, _ counts: UnsafePointer<Int>!, _ tensor_count: Int,
  _ max_norm: Double, _ norm_type: Double, _ out_report: UnsafeMutablePointer<rnn_clip_report>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try clip(gradients, counts, tensor_count, GradientClipping(limit: max_norm, normType: norm_type), out_report)
  }
}

@_cdecl("rnn_gradients_clip_each") @implementation
public func rnn_gradients_clip_each(
  _ gradients: UnsafePointer<UnsafeMutablePointer<Float>?>!, _ counts: UnsafePointer<Int>!, _ tensor_count: Int,
  _ max_norm: Double, _ norm_type: Double, _ out_report: UnsafeMutablePointer<rnn_clip_report>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try clip(gradients, counts, tensor_count, GradientClipping(.tensorNorm, limit: max_norm, normType: norm_type), out_report)
  }
}

@_cdecl("rnn_gradients_clip_value") @implementation
public func rnn_gradients_clip_value(
  _ gradients: UnsafePointer<UnsafeMutablePointer<Float>?>!, _ counts: UnsafePointer<Int>!, _ tensor_count: Int,
  _ clip_value: Double, _ out_report: UnsafeMutablePointer<rnn_clip_report>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try clip(gradients, counts, tensor_count, GradientClipping(.value, limit: clip_value), out_report)
  }
}

@_cdecl("rnn_optimizer_step") @implementation
public func rnn_optimizer_step(
  _ optimizer: OpaquePointer!, _ parameters: UnsafeMutablePointer<Float>!, _ parameters_count: Int,
  _ gradients: UnsafePointer<Float>!, _ gradients_count: Int
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try update(optimizer, parameters, parameters_count, gradients, gradients_count)
  }
}

@_cdecl("rnn_trainer_step") @implementation
public func rnn_trainer_step(
  _ trainer: OpaquePointer!, _ T: Int, _ N: Int, _ input: UnsafePointer<Float>!, _ input_count: Int,
  _ tokens: UnsafePointer<Int64>!, _ tokens_count: Int, _ lengths: UnsafePointer<Int64>!, _ lengths_count: Int,
  _ class_targets: UnsafePointer<Int64>!, _ class_targets_count: Int,
  _ value_targets: UnsafePointer<Float>!, _ value_targets_count: Int,
  _ state: OpaquePointer!, _ out_report: UnsafeMutablePointer<rnn_step_report>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try train(
      trainer, learns: true, T, N, input, input_count, tokens, tokens_count, lengths, lengths_count, class_targets,
      class_targets_count, value_targets, value_targets_count, state, out_report)
  }
}

@_cdecl("rnn_trainer_evaluate") @implementation
public func rnn_trainer_evaluate(
  _ trainer: OpaquePointer!, _ T: Int, _ N: Int, _ input: UnsafePointer<Float>!, _ input_count: Int,
  _ tokens: UnsafePointer<Int64>!, _ tokens_count: Int, _ lengths: UnsafePointer<Int64>!, _ lengths_count: Int,
  _ class_targets: UnsafePointer<Int64>!, _ class_targets_count: Int,
  _ value_targets: UnsafePointer<Float>!, _ value_targets_count: Int,
  _ state: OpaquePointer!, _ out_report: UnsafeMutablePointer<rnn_step_report>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try train(
      trainer, learns: false, T, N, input, input_count, tokens, tokens_count, lengths, lengths_count, class_targets,
      class_targets_count, value_targets, value_targets_count, state, out_report)
  }
}

@_cdecl("rnn_trainer_gradients") @implementation
public func rnn_trainer_gradients(
  _ trainer: OpaquePointer!, _ out_gradients: UnsafeMutablePointer<Float>!, _ gradients_count: Int
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withTrainer(trainer) { (trainer) throws(RNNError) in
      try trainer.readGradients(into: try array(out_gradients, gradients_count, named: "out_gradients"))
    }
  }
}

@_cdecl("rnn_logits_sample") @implementation
public func rnn_logits_sample(
  _ logits: UnsafePointer<Float>!, _ logits_count: Int, _ options: UnsafePointer<rnn_sample_options>!,
  _ out_token: UnsafeMutablePointer<Int64>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in try draw(logits, logits_count, options, out_token) }
}

// MARK: - The same in double

@_cdecl("rnn_loss_cross_entropy_f64") @implementation
public func rnn_loss_cross_entropy_f64(
  _ rows: Int, _ classes: Int, _ logits: UnsafePointer<Double>!, _ logits_count: Int,
  _ targets: UnsafePointer<Int64>!, _ targets_count: Int,
  _ class_weights: UnsafePointer<Double>!, _ class_weights_count: Int,
  _ out_loss: UnsafeMutablePointer<Double>!, _ loss_count: Int,
  _ out_gradient: UnsafeMutablePointer<Double>!, _ gradient_count: Int,
  _ options: UnsafePointer<rnn_cross_entropy_options>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try crossEntropy(
      rows, classes, logits, logits_count, targets, targets_count, class_weights, class_weights_count, out_loss, loss_count,
      out_gradient, gradient_count, options)
  }
}

@_cdecl("rnn_loss_mse_f64") @implementation
public func rnn_loss_mse_f64(
  _ count: Int, _ prediction: UnsafePointer<Double>!, _ prediction_count: Int,
  _ target: UnsafePointer<Double>!, _ target_count: Int, _ out_loss: UnsafeMutablePointer<Double>!, _ loss_count: Int,
  _ out_gradient: UnsafeMutablePointer<Double>!, _ gradient_count: Int, _ options: UnsafePointer<rnn_mse_options>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try squaredError(
      count, prediction, prediction_count, target, target_count, out_loss, loss_count, out_gradient, gradient_count, options)
  }
}

@_cdecl("rnn_loss_ctc_f64") @implementation
public func rnn_loss_ctc_f64(
  _ T: Int, _ N: Int, _ classes: Int, _ S: Int, _ logits: UnsafePointer<Double>!, _ logits_count: Int,
  _ targets: UnsafePointer<Int64>!, _ targets_count: Int,
  _ input_lengths: UnsafePointer<Int64>!, _ input_lengths_count: Int,
  _ target_lengths: UnsafePointer<Int64>!, _ target_lengths_count: Int,
  _ out_loss: UnsafeMutablePointer<Double>!, _ loss_count: Int,
  _ out_gradient: UnsafeMutablePointer<Double>!, _ gradient_count: Int, _ options: UnsafePointer<rnn_ctc_options>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try temporalClassification(
      T, N, classes, S, logits, logits_count, targets, targets_count, input_lengths, input_lengths_count, target_lengths,
      target_lengths_count, out_loss, loss_count, out_gradient, gradient_count, options)
  }
}

@_cdecl("rnn_gradients_clip_f64") @implementation
public func rnn_gradients_clip_f64(
  _ gradients: UnsafePointer<UnsafeMutablePointer<Double>?>!, _ counts: UnsafePointer<Int>!, _ tensor_count: Int,
  _ max_norm: Double, _ norm_type: Double, _ out_report: UnsafeMutablePointer<rnn_clip_report>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try clip(gradients, counts, tensor_count, GradientClipping(limit: max_norm, normType: norm_type), out_report)
  }
}

@_cdecl("rnn_gradients_clip_each_f64") @implementation
public func rnn_gradients_clip_each_f64(
  _ gradients: UnsafePointer<UnsafeMutablePointer<Double>?>!, _ counts: UnsafePointer<Int>!, _ tensor_count: Int,
  _ max_norm: Double, _ norm_type: Double, _ out_report: UnsafeMutablePointer<rnn_clip_report>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try clip(gradients, counts, tensor_count, GradientClipping(.tensorNorm, limit: max_norm, normType: norm_type), out_report)
  }
}

@_cdecl("rnn_gradients_clip_value_f64") @implementation
public func rnn_gradients_clip_value_f64(
  _ gradients: UnsafePointer<UnsafeMutablePointer<Double>?>!, _ counts: UnsafePointer<Int>!, _ tensor_count: Int,
  _ clip_value: Double, _ out_report: UnsafeMutablePointer<rnn_clip_report>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try clip(gradients, counts, tensor_count, GradientClipping(.value, limit: clip_value), out_report)
  }
}

@_cdecl("rnn_optimizer_step_f64") @implementation
public func rnn_optimizer_step_f64(
  _ optimizer: OpaquePointer!, _ parameters: UnsafeMutablePointer<Double>!, _ parameters_count: Int,
  _ gradients: UnsafePointer<Double>!, _ gradients_count: Int
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try update(optimizer, parameters, parameters_count, gradients, gradients_count)
  }
}

@_cdecl("rnn_trainer_step_f64") @implementation
public func rnn_trainer_step_f64(
  _ trainer: OpaquePointer!, _ T: Int, _ N: Int, _ input: UnsafePointer<Double>!, _ input_count: Int,
  _ tokens: UnsafePointer<Int64>!, _ tokens_count: Int, _ lengths: UnsafePointer<Int64>!, _ lengths_count: Int,
  _ class_targets: UnsafePointer<Int64>!, _ class_targets_count: Int,
  _ value_targets: UnsafePointer<Double>!, _ value_targets_count: Int,
  _ state: OpaquePointer!, _ out_report: UnsafeMutablePointer<rnn_step_report>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try train(
      trainer, learns: true, T, N, input, input_count, tokens, tokens_count, lengths, lengths_count, class_targets,
      class_targets_count, value_targets, value_targets_count, state, out_report)
  }
}

@_cdecl("rnn_trainer_evaluate_f64") @implementation
public func rnn_trainer_evaluate_f64(
  _ trainer: OpaquePointer!, _ T: Int, _ N: Int, _ input: UnsafePointer<Double>!, _ input_count: Int,
  _ tokens: UnsafePointer<Int64>!, _ tokens_count: Int, _ lengths: UnsafePointer<Int64>!, _ lengths_count: Int,
  _ class_targets: UnsafePointer<Int64>!, _ class_targets_count: Int,
  _ value_targets: UnsafePointer<Double>!, _ value_targets_count: Int,
  _ state: OpaquePointer!, _ out_report: UnsafeMutablePointer<rnn_step_report>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try train(
      trainer, learns: false, T, N, input, input_count, tokens, tokens_count, lengths, lengths_count, class_targets,
      class_targets_count, value_targets, value_targets_count, state, out_report)
  }
}

@_cdecl("rnn_trainer_gradients_f64") @implementation
public func rnn_trainer_gradients_f64(
  _ trainer: OpaquePointer!, _ out_gradients: UnsafeMutablePointer<Double>!, _ gradients_count: Int
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withTrainer(trainer) { (trainer) throws(RNNError) in
      try trainer.readGradients(into: try array(out_gradients, gradients_count, named: "out_gradients"))
    }
  }
}

@_cdecl("rnn_logits_sample_f64") @implementation
public func rnn_logits_sample_f64(
  _ logits: UnsafePointer<Double>!, _ logits_count: Int, _ options: UnsafePointer<rnn_sample_options>!,
  _ out_token: UnsafeMutablePointer<Int64>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in try draw(logits, logits_count, options, out_token) }
}
