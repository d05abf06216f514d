import RpmemProtocol
import Testing

@testable import RpmemTarget

@Suite struct PersistMethodChoiceTests {
    private func choice(
        _ setting: AppliancePersistency, _ isPersistentMemory: Bool, _ cachesPersist: Bool,
        softwareProvider: String? = nil
    ) -> PersistMethodChoice {
        PersistMethodChoice(
            setting, isPersistentMemory: isPersistentMemory, cachesPersist: cachesPersist,
            softwareProvider: softwareProvider)
    }

    @Test(arguments: [false, true], [false, true])
    func noIsTheGeneralMethodWithoutAWord(isPersistentMemory: Bool, cachesPersist: Bool) {
        let choice = choice(.no, isPersistentMemory, cachesPersist)
        #expect(choice.method == .gpspm)
        #expect(choice.remark == nil)
    }

    @Test(arguments: [false, true]) func yesNeedsPersistentMemoryOnly(cachesPersist: Bool) {
        #expect(choice(.yes, true, cachesPersist).method == .apm)
        #expect(choice(.yes, true, cachesPersist).remark == nil)
        #expect(choice(.yes, false, cachesPersist).method == .gpspm)
        #expect(choice(.yes, false, cachesPersist).remark?.contains("not on persistent memory") == true)
    }

    /// A READ can return data from the CPU's caches, which a loss of power clears.
    @Test func softwareProvidersNeedPersistentCaches() {
        let refused = choice(.yes, true, false, softwareProvider: "tcp")
        #expect(refused.method == .gpspm)
        #expect(refused.remark?.contains("over tcp the CPU of this machine writes the data") == true)
        for setting in [AppliancePersistency.yes, .auto] {
            #expect(choice(setting, true, true, softwareProvider: "tcp").method == .apm)
            #expect(choice(setting, true, true, softwareProvider: "tcp").remark == nil)
        }
        #expect(choice(.yes, false, true, softwareProvider: "tcp").remark?.contains("not on persistent memory") == true)
        #expect(choice(.no, true, false, softwareProvider: "tcp").remark == nil)
    }

    @Test func autoNeedsPersistentCachesToo() {
        #expect(choice(.auto, true, true).method == .apm)
        #expect(choice(.auto, true, true).remark == nil)
        #expect(choice(.auto, true, false).method == .gpspm)
        #expect(choice(.auto, true, false).remark?.contains("eADR") == true)
        #expect(choice(.auto, false, true).method == .gpspm)
        #expect(choice(.auto, false, true).remark?.contains("not on persistent memory") == true)
    }
}
