import RpmemProtocol

/// The providers that every machine has. The virtual machines test verbs.
package let loopbackProviders: [Provider] = [.sockets, .tcp]

/// libfabric's names for them.
package let loopbackProviderNames = loopbackProviders.map(\.name)
