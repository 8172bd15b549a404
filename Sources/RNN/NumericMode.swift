import CRNNSupport

/// Runs `body` in librnn's floating-point mode (round to nearest, flush to zero, denormals are zero, exceptions masked) and
/// gives the caller's mode back.
///
/// Without it a step on denormal numbers costs many times more, and a host that rounds upwards would get other bits.
/// Everything that computes, from whatever language it is called, passes through here once. Entering and leaving are real
/// calls into C: no load or store, and with them no arithmetic on memory, moves across.
public func withNumericMode<Result, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
  let saved = enterNumericMode()
  defer { leaveNumericMode(saved) }
  return try body()
}

/// For initializers, which cannot delegate from inside a closure: returns the caller's mode, for `leaveNumericMode`.
func enterNumericMode() -> UInt32 { rnn_cpu_mode_enter() }
func leaveNumericMode(_ saved: UInt32) { rnn_cpu_mode_leave(saved) }
