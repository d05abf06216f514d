import Glibc

/// The message of the calling thread's last failure. It stays in place until the next one, and goes with the thread.
enum LastMessage {
    /// nil when the process has no keys left; then there are no messages.
    private static let key: pthread_key_t? = {
        var key = pthread_key_t()
        return pthread_key_create(&key, { free($0) }) == 0 ? key : nil
    }()

    static func set(_ text: String) {
        guard let key, let copy = strdup(text) else { return }
        let before = pthread_getspecific(key)
        if pthread_setspecific(key, copy) == 0 { free(before) } else { free(copy) }
    }

    /// NUL-terminated; empty when nothing has failed yet.
    static var current: UnsafePointer<CChar> {
        if let key, let text = pthread_getspecific(key) {
            return UnsafePointer(text.assumingMemoryBound(to: CChar.self))
        }
        return empty
    }

    private static var empty: UnsafePointer<CChar> {
        let text: StaticString = ""
        return UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)
    }
}
