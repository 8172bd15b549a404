import Glibc
import RNN
import Synchronization

/// What a handle stands for; part of its value, so that a stream passed as a network is found out.
enum HandleKind: UInt64 {
  case builder = 1
  case network, state, stream, tape, optimizer, trainer

  var name: String {
    switch self {
    case .builder: "builder"
    case .network: "network"
    case .state: "state"
    case .stream: "stream"
    case .tape: "tape"
    case .optimizer: "optimizer"
    case .trainer: "trainer"
    }
  }
}

/// The objects that C holds, behind checked values instead of addresses.
///
/// A handle is (mark and kind: 8 bits, generation: 24, slot: 32), passed as a pointer that nobody follows. The table only
/// grows and is read without a lock: each slot has one word with its generation, whether it is alive, and how many calls
/// run on its object. A destroyed handle no longer has the slot's generation; destroying while calls run leaves the
/// last of them to free the object.
enum HandleTable {
  /// Bits 56 to 63 of every handle: 0xa0 | kind. Addresses of programs have 0 there.
  private static let mark: UInt64 = 0xa0
  private static let generationMask: UInt64 = 0xff_ffff

  // The word of a slot: generation 40…63, kind 34…37, alive 33, exclusive 32, running calls 0…31.
  private static let kindShift: UInt64 = 34
  private static let alive: UInt64 = 1 << 33
  private static let exclusive: UInt64 = 1 << 32
  private static let callMask: UInt64 = exclusive - 1
  private static func generation(of word: UInt64) -> UInt64 { word >> 40 }

  /// Whether the word of a slot is that of a live object of this kind and generation.
  private static func isLive(_ word: UInt64, _ kind: HandleKind, _ generation: UInt64) -> Bool {
    Self.generation(of: word) == generation && word & alive != 0 && word >> kindShift & 0xf == kind.rawValue
  }

  struct Slot: ~Copyable {
    let word = Atomic<UInt64>(0)
    /// A retained object. Written while the slot is not alive.
    var object: Unmanaged<AnyObject>?
  }

  /// Chunk c has 64 · 2^c slots, from slot 64 · (2^c - 1) on; a chunk never moves.
  private static let chunkCount = 26
  private static let firstChunkSize = 64
  nonisolated(unsafe) private static let chunks: UnsafeMutablePointer<Atomic<UInt>> = {
    let chunks = UnsafeMutablePointer<Atomic<UInt>>.allocate(capacity: chunkCount)
    for i in 0..<chunkCount { (chunks + i).initialize(to: Atomic(0)) }
    return chunks
  }()

  private struct Free {
    var slots: [UInt32] = []
    var used = 0
  }
  private static let free = Mutex(Free())

  private static func slot(_ index: Int) -> UnsafeMutablePointer<Slot>? {
    let block = index / firstChunkSize + 1
    let chunk = Int.bitWidth - 1 - block.leadingZeroBitCount
    guard chunk < chunkCount,
      let base = UnsafeMutablePointer<Slot>(bitPattern: chunks[chunk].load(ordering: .acquiring))
    else { return nil }
    return base + (index - firstChunkSize * ((1 << chunk) - 1))
  }

  // MARK: - Making and destroying

  static func insert(_ object: AnyObject, _ kind: HandleKind) throws(RNNError) -> OpaquePointer {
    let index = free.withLock { free -> Int? in
      if let index = free.slots.popLast() { return Int(index) }
      let index = free.used
      if slot(index) == nil, !addChunk(for: index) { return nil }
      free.used += 1
      return index
    }
    guard let index, let slot = slot(index) else { throw RNNError(.outOfMemory, "no memory for one more \(kind.name)") }
    slot.pointee.object = Unmanaged.passRetained(object)
    let generation = generation(of: slot.pointee.word.load(ordering: .relaxed))
    slot.pointee.word.store(generation << 40 | kind.rawValue << kindShift | alive, ordering: .releasing)
    let value = (mark | kind.rawValue) << 56 | generation << 32 | UInt64(index)
    guard let handle = OpaquePointer(bitPattern: UInt(value)) else { throw RNNError(.outOfMemory, "no handle") }
    return handle
  }

  private static func addChunk(for index: Int) -> Bool {
    let chunk = Int.bitWidth - 1 - (index / firstChunkSize + 1).leadingZeroBitCount
    guard chunk < chunkCount else { return false }
    let count = firstChunkSize << chunk
    var raw: UnsafeMutableRawPointer?
    guard posix_memalign(&raw, 64, count * MemoryLayout<Slot>.stride) == 0, let raw else { return false }
    let slots = raw.bindMemory(to: Slot.self, capacity: count)
    for i in 0..<count { (slots + i).initialize(to: Slot()) }
    chunks[chunk].store(UInt(bitPattern: raw), ordering: .releasing)
    return true
  }

  /// Does nothing for NULL and for handles that are not valid.
  static func destroy(_ handle: OpaquePointer?, _ kind: HandleKind) {
    guard let (slot, generation) = resolve(handle, kind) else { return }
    var word = slot.pointee.word.load(ordering: .acquiring)
    while true {
      guard isLive(word, kind, generation) else { return }
      let (done, now) = slot.pointee.word.compareExchange(
        expected: word, desired: word & ~alive, ordering: .acquiringAndReleasing)
      if done { break }
      word = now
    }
    if word & callMask == 0 { finish(slot, handle) }
  }

  /// Frees the object of a slot that is dead and has no calls, and gives the slot back under the next generation.
  private static func finish(_ slot: UnsafeMutablePointer<Slot>, _ handle: OpaquePointer?) {
    let object = slot.pointee.object
    slot.pointee.object = nil
    let next = generation(of: slot.pointee.word.load(ordering: .relaxed)) + 1
    slot.pointee.word.store((next & generationMask) << 40, ordering: .releasing)
    // After the last generation the slot rests: a handle must not come back.
    if next <= generationMask, let handle {
      free.withLock { $0.slots.append(UInt32(truncatingIfNeeded: UInt(bitPattern: handle))) }
    }
    object?.release()
  }

  // MARK: - Using

  private static func resolve(
    _ handle: OpaquePointer?, _ kind: HandleKind
  ) -> (slot: UnsafeMutablePointer<Slot>, generation: UInt64)? {
    let value = UInt64(UInt(bitPattern: handle))
    guard value >> 56 == mark | kind.rawValue, let slot = slot(Int(value & 0xffff_ffff)) else { return nil }
    return (slot, value >> 32 & generationMask)
  }

  /// Begins a call on an object.
  ///
  /// - Parameter isExclusive: No other call may run on it: builders, states, streams and tapes.
  static func borrow(
    _ handle: OpaquePointer?, _ kind: HandleKind, exclusively isExclusive: Bool, named name: StaticString
  ) throws(RNNError) -> Borrowed {
    guard let (slot, generation) = resolve(handle, kind) else { throw invalid(handle, kind, name) }
    var word = slot.pointee.word.load(ordering: .acquiring)
    while true {
      guard isLive(word, kind, generation) else { throw invalid(handle, kind, name) }
      guard word & exclusive == 0, !isExclusive || word & callMask == 0 else {
        throw RNNError(.busy, "\(name): another call is using this \(kind.name)")
      }
      let (done, now) = slot.pointee.word.compareExchange(
        expected: word, desired: (word + 1) | (isExclusive ? exclusive : 0), ordering: .acquiring)
      if done { break }
      word = now
    }
    guard let object = slot.pointee.object else { throw invalid(handle, kind, name) }
    return Borrowed(object: object, slot: slot, handle: handle)
  }

  private static func invalid(_ handle: OpaquePointer?, _ kind: HandleKind, _ name: StaticString) -> RNNError {
    guard let handle else { return RNNError(.invalidHandle, "\(name) is NULL, expected a \(kind.name)") }
    let value = UInt64(UInt(bitPattern: handle))
    if value >> 60 == mark >> 4, let other = HandleKind(rawValue: value >> 56 & 0xf), other != kind {
      return RNNError(.invalidHandle, "\(name) is a \(other.name), expected a \(kind.name)")
    }
    return RNNError(
      .invalidHandle,
      value >> 60 == mark >> 4 ? "\(name) is a \(kind.name) that was destroyed" : "\(name) is not a handle of librnn")
  }

  /// A call on an object: the object lives at least until `end`.
  struct Borrowed {
    fileprivate let object: Unmanaged<AnyObject>
    private let slot: UnsafeMutableRawPointer
    private let handle: OpaquePointer?

    init(object: Unmanaged<AnyObject>, slot: UnsafeMutablePointer<Slot>, handle: OpaquePointer?) {
      self.object = object
      self.slot = UnsafeMutableRawPointer(slot)
      self.handle = handle
    }

    /// The kind has been checked, and a kind has one class.
    func object<Object: AnyObject>(as type: Object.Type) -> Object {
      unsafeDowncast(object._withUnsafeGuaranteedRef { $0 }, to: Object.self)
    }

    /// The same without counting a reference.
    @inline(__always)
    func read<Object: AnyObject, Result>(_ type: Object.Type, _ body: (Object) -> Result) -> Result {
      object._withUnsafeGuaranteedRef { body(unsafeDowncast($0, to: Object.self)) }
    }

    func end() {
      let slot = self.slot.assumingMemoryBound(to: Slot.self)
      // A shared call is one of many; an exclusive one is alone, and takes its mark along.
      let word = slot.pointee.word.load(ordering: .relaxed)
      let step = word & exclusive != 0 ? exclusive + 1 : 1
      let now = slot.pointee.word.wrappingSubtract(step, ordering: .acquiringAndReleasing).newValue
      if now & (alive | callMask) == 0 { finish(slot, handle) }
    }
  }
}
