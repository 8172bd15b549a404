// swift-tools-version: 6.2
import PackageDescription

// What a program of its own needs to use librnn; test_swift_package.py fills in where it is.
let package = Package(
  name: "consumer",
  dependencies: [.package(url: "@URL@", exact: "@VERSION@")],
  targets: [.executableTarget(name: "consumer", dependencies: [.product(name: "RNN", package: "librnn")])]
)
