import CRNNSupport
import Glibc
import Synchronization

/// The threads of the process: one pool for everybody. A call that finds it busy computes alone, with the same bits, since
/// work is split over outputs and never over a sum.
///
/// Workers spin for a short while after a job and then sleep; so does the caller while it waits for them. Waiting longer would
/// steal time from the very threads that are waited for, where processors are shared. A forked child begins without
/// workers.
public enum ThreadPool {
  public static let largestCount = 1024
  /// Some 20 µs: longer than the gap between two products of a pass, much shorter than a time slice.
  private static let spinCount = 2_000
  /// The same in nanoseconds: a call that comes later than this after the one before finds the threads asleep.
  public static let spinTime: UInt64 = 20_000

  /// Threads that one call may use, its own included.
  public static var limit: Int {
    get { limitStorage.load(ordering: .relaxed) }
    set { limitStorage.store(min(max(newValue, 1), largestCount), ordering: .relaxed) }
  }

  private static let limitStorage: Atomic<Int> = {
    if let text = getenv("RNN_NUM_THREADS"), let count = Int(String(cString: text)), (1...largestCount).contains(count) {
      return Atomic(count)
    }
    return Atomic(max(1, min(Int(rnn_cpu_processor_count()), largestCount)))
  }()

  private typealias Call = (Int) -> Void
  /// What each thread of a job calls, with its part. Plain pointers: counting references to a closure would cost more than a short job.
  public typealias Body = @convention(c) (_ context: UnsafeRawPointer, _ part: Int) -> Void

  /// In a job word: workers are helpers.
  private static var withHelpers: UInt64 { 1 << 15 }
  /// In an entry word: no more helpers.
  private static var closed: UInt64 { 0xffff }

  /// The words that threads share; each on a cache line of its own.
  private struct Shared: ~Copyable {
    /// Job number · 2^16 + parts, and `withHelpers`: one word, so that a worker that comes late never mixes two jobs.
    let job = Atomic<UInt64>(0)
    /// The job's body, beside it so that both come in one transfer; `context` lives until all parts are done.
    var body: Body?
    var context: UnsafeRawPointer?
    private let padding1 = SIMD16<Int32>()
    /// Calls that compute alone and expect a job soon: workers spin until they are done, and then for as long as ever.
    let expecting = Atomic<Int>(0)
    private let padding2 = SIMD16<Int32>()
    /// Parts of the workers that are not done.
    let pending = Atomic<UInt32>(0)
    private let padding3 = SIMD16<Int32>()
    /// Of a job with helpers: its number · 2^16 + helpers that came, `closed` when no more may; and how many of them left.
    let entry = Atomic<UInt64>(closed)
    let left = Atomic<UInt64>(0)
    private let padding4 = SIMD16<Int32>()
    let isBusy = Atomic<Bool>(false)
    let workerCount = Atomic<Int>(0)
  }

  nonisolated(unsafe) private static let shared: UnsafeMutablePointer<Shared> = {
    let memory = UnsafeMutablePointer<Shared>.allocate(capacity: 1)
    memory.initialize(to: Shared())
    _ = sleep
    // The child of a fork has the caller's thread alone.
    pthread_atfork(
      nil, nil,
      {
        // New workers must not take the parent's last job for one of their own.
        ThreadPool.shared.pointee.job.store(0, ordering: .relaxed)
        ThreadPool.shared.pointee.workerCount.store(0, ordering: .relaxed)
        ThreadPool.shared.pointee.pending.store(0, ordering: .relaxed)
        for worker in 1..<largestCount { ThreadPool.sleep[worker].store(awake, ordering: .relaxed) }
        ThreadPool.shared.pointee.expecting.store(0, ordering: .relaxed)
        ThreadPool.shared.pointee.entry.store(closed, ordering: .relaxed)
        ThreadPool.shared.pointee.left.store(0, ordering: .relaxed)
        ThreadPool.barrier.reset()
        ThreadPool.shared.pointee.isBusy.store(false, ordering: .releasing)
      })
    return memory
  }()

  /// For the parts of `runTogether`, which are all of the pool that computes.
  public static let barrier = StepBarrier()

  private static var awake: UInt32 { 0 }
  private static var asleep: UInt32 { 1 }
  /// On its way, from its sleep or its birth.
  private static var called: UInt32 { 2 }

  /// Of each worker whether it sleeps: what the operating system is told to wait for, and so by itself.
  nonisolated(unsafe) private static let sleep: UnsafeMutablePointer<Atomic<UInt32>> = {
    let memory = UnsafeMutablePointer<Atomic<UInt32>>.allocate(capacity: largestCount)
    for worker in 0..<largestCount { (memory + worker).initialize(to: Atomic(awake)) }
    return memory
  }()

  /// Calls `body` once for each part, on as many threads if they come, and returns when all are done.
  ///
  /// - Parameter parts: At most `limit`; 1 runs on the caller alone.
  public static func run(parts: Int, _ body: (Int) -> Void) {
    if parts > 1 {
      let next = Atomic<Int>(0)
      let isDone = runWithHelpers(parts: parts, patience: nil) { _ in
        while true {
          let part = next.wrappingAdd(1, ordering: .relaxed).oldValue
          guard part < parts else { return }
          body(part)
        }
      }
      if isDone { return }
    }
    for part in 0..<parts { body(part) }
  }

  /// For parts that wait for one another, each on a thread of its own; false, and nothing is done, if the pool is busy or
  /// a thread cannot be had.
  ///
  /// - Parameter patience: Nanoseconds that the caller, when it is done, waits for the others before they are ``late``; nil where nobody
  ///   minds.
  public static func runTogether(parts: Int, patience: UInt64?, _ body: (Int) -> Void) -> Bool {
    withoutActuallyEscaping(body) { call in
      withUnsafePointer(to: call) { pointer in
        runTogether(parts: parts, patience: patience, UnsafeRawPointer(pointer)) { context, part in
          context.assumingMemoryBound(to: Call.self).pointee(part)
        }
      }
    }
  }

  /// The same without a closure: allocates nothing once the threads are there.
  public static func runTogether(
    parts: Int, patience: UInt64?, _ context: UnsafeRawPointer, _ body: @escaping Body
  ) -> Bool {
    guard begin() else { return false }
    let workers = min(parts, largestCount) - 1
    guard parts <= largestCount, startWorkers(workers) else {
      shared.pointee.isBusy.store(false, ordering: .releasing)
      return false
    }
    let lateBefore = lateThreads
    shared.pointee.pending.store(UInt32(workers), ordering: .relaxed)
    announce(nextJob, UInt64(parts), context, body)
    body(context, 0)
    wait(patience ?? .max) { shared.pointee.pending.load(ordering: .acquiring) == 0 }
    if patience != nil, lateThreads == lateBefore { wasPunctual() }
    shared.pointee.isBusy.store(false, ordering: .releasing)
    return true
  }

  /// A job that the caller can do alone, piece by piece, and that threads of the pool help with as long as it is not done: whoever comes
  /// late finds the job closed, and nobody waits for it.
  ///
  /// - Parameters:
  ///   - parts: Threads at most, the caller's included, which is part 0. Each calls `body` once, if it comes.
  ///   - patience: As for `runTogether`.
  /// - Returns: false, and nothing is done, if the pool is busy.
  public static func runWithHelpers(parts: Int, patience: UInt64?, _ body: (Int) -> Void) -> Bool {
    withoutActuallyEscaping(body) { call in
      withUnsafePointer(to: call) { pointer in
        guard begin() else { return false }
        defer { shared.pointee.isBusy.store(false, ordering: .releasing) }
        let parts = min(parts, largestCount)
        // Those that there are will do.
        _ = startWorkers(parts - 1)
        let lateBefore = lateThreads
        let number = nextJob
        shared.pointee.left.store(0, ordering: .relaxed)
        shared.pointee.entry.store(number << 16, ordering: .releasing)
        announce(number, UInt64(parts) | withHelpers, UnsafeRawPointer(pointer)) { context, part in
          context.assumingMemoryBound(to: Call.self).pointee(part)
        }
        call(0)
        let helpers = shared.pointee.entry.exchange(number << 16 | closed, ordering: .acquiringAndReleasing) & closed
        wait(patience ?? .max) { shared.pointee.left.load(ordering: .acquiring) == helpers }
        if patience != nil, lateThreads == lateBefore { wasPunctual() }
        return true
      }
    }
  }

  private static var nextJob: UInt64 { shared.pointee.job.load(ordering: .relaxed) >> 16 &+ 1 }

  /// Tells all workers of a job, and wakes those that sleep.
  @inline(__always)
  private static func announce(_ number: UInt64, _ parts: UInt64, _ context: UnsafeRawPointer, _ body: @escaping Body) {
    shared.pointee.body = body
    shared.pointee.context = context
    // Before any look at who sleeps: a worker that goes to sleep says so and then looks for a job, and one of both must see the other.
    shared.pointee.job.store(number << 16 | parts, ordering: .sequentiallyConsistent)
    wake(workers: Int(parts & (withHelpers - 1)) - 1)
  }

  /// Calls those of the first `workers` that sleep; the others find the job when they look.
  @inline(__always)
  private static func wake(workers: Int) {
    guard workers > 0 else { return }
    for worker in 1...workers where sleep[worker].load(ordering: .sequentiallyConsistent) == asleep { call(worker) }
  }

  @inline(never)
  private static func call(_ worker: Int) {
    let (isCalled, _) = sleep[worker].compareExchange(expected: asleep, desired: called, ordering: .sequentiallyConsistent)
    if isCalled { rnn_cpu_futex_wake(sleep + worker, 1) }
  }

  /// Whether a worker may help with this job: it has been let in, and counts.
  private static func enters(_ job: UInt64) -> Bool {
    var entry = shared.pointee.entry.load(ordering: .acquiring)
    while entry >> 16 == job >> 16, entry & closed != closed {
      let (isIn, found) = shared.pointee.entry.compareExchange(
        expected: entry, desired: entry &+ 1, ordering: .acquiringAndReleasing)
      if isIn { return true }
      entry = found
    }
    return false
  }

  /// Whether `parts` threads would begin at once.
  public static func isAwake(parts: Int) -> Bool {
    guard shared.pointee.workerCount.load(ordering: .relaxed) >= parts - 1 else { return false }
    for worker in 1..<max(parts, 1) where sleep[worker].load(ordering: .relaxed) != awake { return false }
    return true
  }

  /// Calls `body`, which is short, and has the threads awake when it returns, or soon after: for a caller that computes alone, as it has less
  /// to do than it takes to wake a thread (some 50 µs), but will soon have as much to do again. Threads that come before
  /// `body` is done stay.
  @inline(__always)
  public static func awaken(parts: Int, while body: () -> Void) {
    shared.pointee.expecting.wrappingAdd(1, ordering: .relaxed)
    defer { shared.pointee.expecting.wrappingSubtract(1, ordering: .relaxed) }
    let workers = min(parts, largestCount) - 1
    if shared.pointee.workerCount.load(ordering: .relaxed) < workers, begin() {
      _ = startWorkers(workers)
      shared.pointee.isBusy.store(false, ordering: .releasing)
    }
    wake(workers: workers)
    body()
  }

  private static func begin() -> Bool {
    !shared.pointee.isBusy.exchange(true, ordering: .acquiring)
  }

  /// Waits: a few loads, then pauses, and after some 20 µs it yields, as the others may need this processor.
  ///
  /// - Parameter patience: Nanoseconds from then on until the others are late.
  @inline(__always)
  public static func wait(_ patience: UInt64, until isDone: () -> Bool) {
    var spins = 0
    var start: UInt64 = 0
    while !isDone() {
      spins &+= 1
      if spins > spinCount {
        if spins == spinCount &+ 1 { start = nanoseconds() }
        sched_yield()
      } else if spins > 200 {
        rnn_cpu_pause()
      }
    }
    if spins > spinCount, nanoseconds() &- start > patience { late() }
  }

  // MARK: - Threads that are kept waiting

  private static let avoidedUntil = Atomic<UInt64>(0)
  private static let avoidance = Atomic<UInt64>(shortestAvoidance)
  private static let lateCount = Atomic<Int>(0)
  private static var shortestAvoidance: UInt64 { 2_000_000 }
  private static var longestAvoidance: UInt64 { 1_000_000_000 }

  public static func nanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(bitPattern: Int64(time.tv_sec &* 1_000_000_000 &+ time.tv_nsec))
  }

  /// Whether threads may share work in which they wait for each other often. Not for a while after they were late: other processes
  /// have the processors then, and every wait would be as long as a time slice.
  public static var maySynchronize: Bool {
    let until = avoidedUntil.load(ordering: .relaxed)
    return until == 0 || nanoseconds() >= until
  }

  /// How often a thread was late.
  public static var lateThreads: Int { lateCount.load(ordering: .relaxed) }

  fileprivate static func late() {
    lateCount.wrappingAdd(1, ordering: .relaxed)
    let now = nanoseconds()
    var time = avoidance.load(ordering: .relaxed)
    // A thread that was late long ago says nothing about this time.
    let until = avoidedUntil.load(ordering: .relaxed)
    if now > until, now &- until > time { time = shortestAvoidance }
    avoidedUntil.store(now &+ time, ordering: .relaxed)
    avoidance.store(min(2 &* time, longestAvoidance), ordering: .relaxed)
  }

  /// Threads shared work in which they wait for each other, and none was late.
  private static func wasPunctual() {
    if avoidance.load(ordering: .relaxed) != shortestAvoidance {
      avoidance.store(shortestAvoidance, ordering: .relaxed)
    }
  }

  /// Makes sure that `count` workers exist; false if a thread cannot be had.
  private static func startWorkers(_ count: Int) -> Bool {
    var existing = shared.pointee.workerCount.load(ordering: .relaxed)
    while existing < count {
      sleep[existing + 1].store(called, ordering: .relaxed)
      var thread = pthread_t()
      var attributes = pthread_attr_t()
      pthread_attr_init(&attributes)
      pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
      // The host's signals are the host's business.
      var all = sigset_t(), old = sigset_t()
      sigfillset(&all)
      pthread_sigmask(SIG_SETMASK, &all, &old)
      let status = pthread_create(
        &thread, &attributes,
        { index in
          ThreadPool.work(Int(bitPattern: index))
        }, UnsafeMutableRawPointer(bitPattern: existing + 1))
      pthread_sigmask(SIG_SETMASK, &old, nil)
      pthread_attr_destroy(&attributes)
      guard status == 0 else { return false }
      existing += 1
      shared.pointee.workerCount.store(existing, ordering: .relaxed)
    }
    return true
  }

  /// The life of worker `index`, which computes part `index` of every job that has so many.
  private static func work(_ index: Int) -> Never {
    _ = rnn_cpu_mode_enter()
    sleep[index].store(awake, ordering: .relaxed)
    var seen: UInt64 = 0
    var spins = 0
    while true {
      var job = shared.pointee.job.load(ordering: .acquiring)
      while job == seen {
        if spins < spinCount {
          spins = shared.pointee.expecting.load(ordering: .relaxed) > 0 ? 0 : spins + 1
          rnn_cpu_pause()
        } else {
          sleep[index].store(asleep, ordering: .sequentiallyConsistent)
          if shared.pointee.job.load(ordering: .sequentiallyConsistent) == seen {
            rnn_cpu_futex_wait(sleep + index, asleep)
          }
          spins = 0
          sleep[index].store(awake, ordering: .sequentiallyConsistent)
        }
        job = shared.pointee.job.load(ordering: .acquiring)
      }
      seen = job
      let isHelper = job & withHelpers != 0
      // Jobs of fewer threads keep nobody else from sleeping.
      guard index < Int(job & (withHelpers - 1)), !isHelper || enters(job) else { continue }
      spins = 0
      if let body = shared.pointee.body, let context = shared.pointee.context { body(context, index) }
      if isHelper {
        shared.pointee.left.wrappingAdd(1, ordering: .releasing)
      } else {
        shared.pointee.pending.wrappingSubtract(1, ordering: .releasing)
      }
    }
  }

  /// How many threads a piece of work deserves.
  ///
  /// - Parameters:
  ///   - multiplyAdds: Of the whole work; a thread should have some 20 µs of them.
  ///   - units: Into how many pieces it can be cut.
  public static func parts(multiplyAdds: Int, units: Int) -> Int {
    let grain = 1 << 20
    return max(1, min(limit, min(units, multiplyAdds / grain)))
  }
}

/// The part `index` of `count` things cut in `parts`, in whole multiples of `unit` but for the last.
public func slice(of count: Int, part index: Int, parts: Int, unit: Int) -> Range<Int> {
  let units = (count + unit - 1) / unit
  let begin = units * index / parts * unit, end = units * (index + 1) / parts * unit
  return min(begin, count)..<min(end, count)
}

/// Where the threads of one job wait for each other, again and again.
public final class StepBarrier: Sendable {
  private let arrived = Atomic<Int>(0)
  private let generation = Atomic<Int>(0)

  public init() {}

  /// In the child of a fork, where nobody waits any more.
  fileprivate func reset() { arrived.store(0, ordering: .relaxed) }

  /// Returns when `count` threads are here. Whoever waits longer than `patience`, in nanoseconds, tells the pool.
  public func wait(count: Int, patience: UInt64) {
    let own = generation.load(ordering: .acquiring)
    if arrived.wrappingAdd(1, ordering: .acquiringAndReleasing).newValue == count {
      arrived.store(0, ordering: .relaxed)
      generation.store(own &+ 1, ordering: .releasing)
      return
    }
    ThreadPool.wait(patience) { generation.load(ordering: .acquiring) != own }
  }
}
