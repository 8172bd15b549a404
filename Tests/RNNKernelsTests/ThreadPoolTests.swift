import XCTest

@testable import RNNKernels

final class ThreadPoolTests: XCTestCase {
  /// Every part runs once, in every one of many jobs, also when the workers have gone to sleep in between.
  func testEachPartRunsOnceAJob() {
    let counts = UnsafeMutablePointer<Int>.allocate(capacity: 4)
    counts.initialize(repeating: 0, count: 4)
    defer { counts.deallocate() }
    for job in 0..<2_000 {
      ThreadPool.run(parts: 2 + job % 3) { part in counts[part] += 1 }
      if job % 500 == 0 { usleep(2_000) }
    }
    XCTAssertEqual(counts[0], 2_000)
    XCTAssertEqual(counts[1], 2_000)
    XCTAssertEqual(counts[2] + counts[3], (0..<2_000).reduce(0) { $0 + $1 % 3 })
  }

  /// A job inside a job finds the pool busy and runs alone.
  func testAJobInsideAJobRunsOnItsOwnThread() {
    let total = UnsafeMutablePointer<Int>.allocate(capacity: 2)
    total.initialize(repeating: 0, count: 2)
    defer { total.deallocate() }
    ThreadPool.run(parts: 2) { outer in
      ThreadPool.run(parts: 3) { _ in total[outer] += 1 }
    }
    XCTAssertEqual(total[0], 3)
    XCTAssertEqual(total[1], 3)
  }

  /// Helpers come once a job or not at all, never after it, whether they were asleep or come from the job before.
  func testHelpersComeWhileTheJobIsOpen() {
    let isOpen = UnsafeMutablePointer<Int>.allocate(capacity: 2_000)
    let calls = UnsafeMutablePointer<Int>.allocate(capacity: 4 * 2_000)
    isOpen.initialize(repeating: 0, count: 2_000)
    calls.initialize(repeating: 0, count: 4 * 2_000)
    defer {
      isOpen.deallocate()
      calls.deallocate()
    }
    for job in 0..<2_000 {
      isOpen[job] = 1
      let isDone = ThreadPool.runWithHelpers(parts: 2 + job % 3, patience: .max) { part in
        XCTAssertEqual(isOpen[job], 1)
        calls[4 * job + part] += 1
        if job % 7 == 0 { usleep(100) }
      }
      isOpen[job] = 0
      XCTAssert(isDone)
      // Jobs with parts in between: their workers may still be on the way from this one.
      if job % 3 == 0 { ThreadPool.run(parts: 3) { part in calls[4 * job + part] += 10 } }
      if job % 500 == 0 { usleep(2_000) }
    }
    for job in 0..<2_000 {
      let parts = 2 + job % 3, others = job % 3 == 0 ? 10 : 0
      XCTAssertEqual(calls[4 * job], 1 + others)
      for part in 1..<4 {
        let own = calls[4 * job + part] - (part < 3 ? others : 0)
        XCTAssert(own == 0 || own == 1 && part < parts, "part \(part) of job \(job) ran \(own) times")
      }
    }
  }

  /// Steps of a stream that found the other thread asleep would otherwise find it asleep again, step after step.
  func testThreadsThatWereCalledStayUntilTheCallIsDone() {
    ThreadPool.run(parts: 2) { _ in }
    XCTAssert(happens { !ThreadPool.isAwake(parts: 2) })
    ThreadPool.awaken(parts: 2) {
      XCTAssert(happens { ThreadPool.isAwake(parts: 2) })
      usleep(5_000)
      XCTAssert(ThreadPool.isAwake(parts: 2))
    }
    XCTAssert(happens { !ThreadPool.isAwake(parts: 2) })
  }

  func testJobsOfTwoThreadsLetTheOthersSleep() {
    ThreadPool.run(parts: 4) { _ in usleep(1_000) }
    XCTAssert(
      happens {
        XCTAssert(ThreadPool.runTogether(parts: 2, patience: nil) { _ in })
        return !ThreadPool.isAwake(parts: 4)
      })
    // And they come when there is something for them.
    let parts = UnsafeMutablePointer<Int>.allocate(capacity: 4)
    parts.initialize(repeating: 0, count: 4)
    defer { parts.deallocate() }
    XCTAssert(ThreadPool.runTogether(parts: 4, patience: nil) { part in parts[part] += 1 })
    XCTAssertEqual(Array(UnsafeBufferPointer(start: parts, count: 4)), [1, 1, 1, 1])
  }

  /// Within five seconds, as the machine may be busy.
  private func happens(_ condition: () -> Bool) -> Bool {
    for _ in 0..<50_000 {
      if condition() { return true }
      usleep(100)
    }
    return false
  }

  func testAJobWithHelpersInsideAJobIsRefused() {
    ThreadPool.run(parts: 2) { _ in
      XCTAssertFalse(ThreadPool.runWithHelpers(parts: 2, patience: .max) { _ in XCTFail("the pool is busy") })
    }
  }

  func testSlicesCoverEverythingOnceInWholeUnits() {
    for count in 0...70 {
      for parts in 1...5 {
        var next = 0
        for part in 0..<parts {
          let range = slice(of: count, part: part, parts: parts, unit: 8)
          XCTAssertEqual(range.lowerBound, next)
          if range.upperBound != count { XCTAssertEqual(range.upperBound % 8, 0) }
          next = range.upperBound
        }
        XCTAssertEqual(next, count)
      }
    }
  }

  func testSmallWorkStaysOnOneThread() {
    let limit = ThreadPool.limit
    defer { ThreadPool.limit = limit }
    ThreadPool.limit = 4
    XCTAssertEqual(ThreadPool.parts(multiplyAdds: 100_000, units: 64), 1)
    XCTAssertEqual(ThreadPool.parts(multiplyAdds: 1 << 30, units: 64), 4)
    XCTAssertEqual(ThreadPool.parts(multiplyAdds: 1 << 30, units: 2), 2)
    XCTAssertEqual(ThreadPool.parts(multiplyAdds: 1 << 30, units: 0), 1)
  }
}
