import CRNN
import Foundation
import Synchronization
import XCTest

@testable import RNN
@testable import RNNExports

/// What a handle of these tests stands for; counts how many of them live.
private final class Thing: Sendable {
  static let living = Atomic<Int>(0)
  let number: Int
  init(_ number: Int) {
    self.number = number
    Thing.living.wrappingAdd(1, ordering: .relaxed)
  }
  deinit { Thing.living.wrappingSubtract(1, ordering: .relaxed) }
}

final class HandleTableTests: XCTestCase {
  private func number(_ handle: OpaquePointer?, _ kind: HandleKind = .state) throws -> Int {
    let borrowed = try HandleTable.borrow(handle, kind, exclusively: false, named: "state")
    defer { borrowed.end() }
    return borrowed.object(as: Thing.self).number
  }

  private func assertInvalid(_ handle: OpaquePointer?, _ part: String, line: UInt = #line) {
    XCTAssertThrowsError(try HandleTable.borrow(handle, .state, exclusively: false, named: "state").end(), line: line) {
      XCTAssertEqual(($0 as? RNNError)?.code, .invalidHandle, "\($0)", line: line)
      XCTAssertTrue(($0 as? RNNError)?.message.contains(part) == true, "\($0)", line: line)
    }
  }

  func testAHandleLeadsToItsObjectUntilItIsDestroyed() throws {
    let before = Thing.living.load(ordering: .relaxed)
    let handles = try (0..<200).map { try HandleTable.insert(Thing($0), .state) }
    XCTAssertEqual(Set(handles).count, 200)
    for (i, handle) in handles.enumerated() { XCTAssertEqual(try number(handle), i) }
    XCTAssertEqual(Thing.living.load(ordering: .relaxed), before + 200)
    for handle in handles { HandleTable.destroy(handle, .state) }
    XCTAssertEqual(Thing.living.load(ordering: .relaxed), before)
    for handle in handles { assertInvalid(handle, "was destroyed") }
    // Again, and on handles that are none: nothing happens.
    for handle in handles + [nil, OpaquePointer(bitPattern: 8)] { HandleTable.destroy(handle, .state) }
  }

  func testASlotThatIsUsedAgainHasANewGeneration() throws {
    let first = try HandleTable.insert(Thing(1), .state)
    HandleTable.destroy(first, .state)
    let second = try HandleTable.insert(Thing(2), .state)
    defer { HandleTable.destroy(second, .state) }
    // The slot that was freed last is used first.
    XCTAssertEqual(UInt(bitPattern: first) & 0xffff_ffff, UInt(bitPattern: second) & 0xffff_ffff)
    XCTAssertNotEqual(first, second)
    assertInvalid(first, "was destroyed")
    HandleTable.destroy(first, .state)
    XCTAssertEqual(try number(second), 2)
  }

  func testHandlesOfOtherKindsAndForeignPointersAreFoundOut() throws {
    let handle = try HandleTable.insert(Thing(3), .stream)
    defer { HandleTable.destroy(handle, .stream) }
    assertInvalid(handle, "state is a stream, expected a state")
    HandleTable.destroy(handle, .state)
    XCTAssertEqual(try number(handle, .stream), 3)
    assertInvalid(nil, "state is NULL")
    var number = 0
    withUnsafePointer(to: &number) { assertInvalid(OpaquePointer($0), "not a handle of librnn") }
    for bits in [1, 0xa300_0000_0000_0000, 0xa3ff_ffff_ffff_ffff, 0xa3ff_ffff_0000_0000, 0xaf00_0000_0000_0000, UInt.max] {
      XCTAssertThrowsError(
        try HandleTable.borrow(OpaquePointer(bitPattern: bits), .state, exclusively: false, named: "state").end(),
        String(bits, radix: 16)) { XCTAssertEqual(($0 as? RNNError)?.code, .invalidHandle) }
      HandleTable.destroy(OpaquePointer(bitPattern: bits), .state)
    }
  }

  func testAnExclusiveCallLetsNobodyElseIn() throws {
    let handle = try HandleTable.insert(Thing(4), .state)
    defer { HandleTable.destroy(handle, .state) }
    func isBusy(exclusively: Bool) -> Bool {
      do throws(RNNError) {
        try HandleTable.borrow(handle, .state, exclusively: exclusively, named: "state").end()
        return false
      } catch {
        XCTAssertEqual(error.code, .busy)
        XCTAssertTrue(error.message.contains("another call is using this state"))
        return true
      }
    }
    let exclusive = try HandleTable.borrow(handle, .state, exclusively: true, named: "state")
    XCTAssertTrue(isBusy(exclusively: true))
    XCTAssertTrue(isBusy(exclusively: false))
    exclusive.end()
    XCTAssertFalse(isBusy(exclusively: true))
    let shared = try HandleTable.borrow(handle, .state, exclusively: false, named: "state")
    XCTAssertFalse(isBusy(exclusively: false))
    XCTAssertTrue(isBusy(exclusively: true))
    shared.end()
    XCTAssertFalse(isBusy(exclusively: true))
  }

  func testAnObjectLivesUntilTheLastCallOnItEnds() throws {
    let before = Thing.living.load(ordering: .relaxed)
    let handle = try HandleTable.insert(Thing(5), .state)
    let a = try HandleTable.borrow(handle, .state, exclusively: false, named: "state")
    let b = try HandleTable.borrow(handle, .state, exclusively: false, named: "state")
    HandleTable.destroy(handle, .state)
    HandleTable.destroy(handle, .state)
    assertInvalid(handle, "was destroyed")
    XCTAssertEqual(a.object(as: Thing.self).number, 5)
    a.end()
    XCTAssertEqual(b.object(as: Thing.self).number, 5)
    XCTAssertEqual(Thing.living.load(ordering: .relaxed), before + 1)
    b.end()
    XCTAssertEqual(Thing.living.load(ordering: .relaxed), before)
  }

  /// Four threads make, use and destroy objects of their own and of each other. Every call finds the object its handle was
  /// made for, or none; and none is lost.
  func testThreadsMayDestroyWhatOthersUse() throws {
    let before = Thing.living.load(ordering: .relaxed)
    let shared = Mutex<[(UInt, Int)]>([])
    let wrong = Atomic<Int>(0), used = Atomic<Int>(0), refused = Atomic<Int>(0)
    DispatchQueue.concurrentPerform(iterations: 4) { thread in
      var random = UInt64(thread + 1)
      func next(_ limit: Int) -> Int {
        random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Int(random >> 33) % limit
      }
      for i in 0..<2_000 {
        let number = thread * 1_000_000 + i
        if let handle = try? HandleTable.insert(Thing(number), .state) {
          shared.withLock { $0.append((UInt(bitPattern: handle), number)) }
        }
        for _ in 0..<4 {
          guard let (bits, expected) = shared.withLock({ $0.isEmpty ? nil : $0[next($0.count)] }) else { continue }
          do throws(RNNError) {
            let borrowed = try HandleTable.borrow(
              OpaquePointer(bitPattern: bits), .state, exclusively: next(2) == 0, named: "state")
            if borrowed.object(as: Thing.self).number != expected { wrong.wrappingAdd(1, ordering: .relaxed) }
            used.wrappingAdd(1, ordering: .relaxed)
            borrowed.end()
          } catch {
            if error.code != .busy && error.code != .invalidHandle { wrong.wrappingAdd(1, ordering: .relaxed) }
            refused.wrappingAdd(1, ordering: .relaxed)
          }
        }
        // Destroy one while others may be in it, and leave its handle in the list for a while: it must be refused.
        let victim = shared.withLock { list -> UInt? in
          guard list.count > 8 else { return nil }
          if list.count > 16 { list.removeFirst() }
          return list[0].0
        }
        if let victim { HandleTable.destroy(OpaquePointer(bitPattern: victim), .state) }
      }
    }
    XCTAssertEqual(wrong.load(ordering: .relaxed), 0)
    XCTAssertGreaterThan(used.load(ordering: .relaxed), 1_000)
    XCTAssertGreaterThan(refused.load(ordering: .relaxed), 100)
    for (bits, _) in shared.withLock({ $0 }) { HandleTable.destroy(OpaquePointer(bitPattern: bits), .state) }
    // What left the list had been the first of it before, and so a victim.
    XCTAssertEqual(Thing.living.load(ordering: .relaxed), before)
  }
}
