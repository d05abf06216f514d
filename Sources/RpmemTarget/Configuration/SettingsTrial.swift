import Glibc
import PoolSets
import RpmemProtocol
import SystemPackage
import SystemSupport

extension Settings {
    /// What of the settings cannot work on this machine now: the pool set directory, the log, the address and ports of the lanes.
    /// A session would find out. Changes nothing.
    package func tryOut() -> [ConfigurationError.Problem] {
        var problems: [ConfigurationError.Problem] = []
        func add(_ key: SettingKey, _ text: String, _ errno: Errno = .invalidArgument) {
            problems.append(.init(at: "\(origin(of: key))", text, errno: errno))
        }
        do throws(PoolError) { _ = try PoolStore(directory: poolsetDirectory.value) } catch {
            add(.poolsetDirectory, "\(SettingKey.poolsetDirectory.name): \(error)", error.errno)
        }
        let (destination, _) = LogDestination.choose(self, services: .ofThisMachine())
        if case .file(let path) = destination, let error = LogFile.reasonAgainst(path) {
            add(.logFile, "\(SettingKey.logFile.name): \(quoted(path)) \(error.reason)", error.errno)
        }
        let any = NetworkAddress("0.0.0.0")!
        if let obstacle = ListenObstacle.find(
            at: inBandAddress.value ?? any, isConfigured: inBandAddress.value != nil, ports: portRange.value)
        {
            add(obstacle.setting, obstacle.text)
        }
        return problems
    }
}
