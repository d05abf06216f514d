import CLinux
import Glibc

/// Symbols that the process's objects take from other objects.
enum SymbolReferences {
    private final class Search {
        let name: String
        var found = false

        init(_ name: String) { self.name = name }
    }

    /// Whether the program, or one of its libraries, has a relocation for the symbol: it was linked to use it. A pointer from
    /// dlsym(3) leaves no trace.
    static func exist(to name: String) -> Bool {
        let search = Search(name)
        _ = dl_iterate_phdr(
            { object, _, search in
                guard let object, let search else { return 0 }
                let state = Unmanaged<Search>.fromOpaque(search).takeUnretainedValue()
                state.found = SymbolReferences.object(object.pointee, refersTo: state.name)
                return state.found ? 1 : 0
            }, Unmanaged.passUnretained(search).toOpaque())
        return search.found
    }

    private static func object(_ object: rpmem_loaded_object, refersTo name: String) -> Bool {
        guard let headers = object.headers?.assumingMemoryBound(to: Elf64_Phdr.self) else { return false }
        let segments = UnsafeBufferPointer(start: headers, count: Int(object.header_count))
        guard let dynamic = segments.first(where: { $0.p_type == UInt32(PT_DYNAMIC) }),
            let entries = UnsafePointer<Elf64_Dyn>(bitPattern: object.bias &+ UInt(dynamic.p_vaddr))
        else { return false }
        var values: [Int64: UInt] = [:]
        var entry = entries
        while entry.pointee.d_tag != Int64(DT_NULL) {
            values[entry.pointee.d_tag] = UInt(entry.pointee.d_un.d_val)
            entry += 1
        }
        /// The dynamic linker has made addresses of most objects' values, not of the vdso's.
        func address<Pointee>(_ tag: Int32, as _: Pointee.Type) -> UnsafePointer<Pointee>? {
            guard let value = values[Int64(tag)] else { return nil }
            let base = object.bias
            return UnsafePointer(bitPattern: value < base ? value + base : value)
        }
        guard let symbols = address(DT_SYMTAB, as: Elf64_Sym.self), let names = address(DT_STRTAB, as: CChar.self)
        else { return false }
        for (start, size) in [(DT_JMPREL, DT_PLTRELSZ), (DT_RELA, DT_RELASZ)] {
            guard let relocations = address(start, as: Elf64_Rela.self), let bytes = values[Int64(size)] else {
                continue
            }
            for index in 0..<Int(bytes) / MemoryLayout<Elf64_Rela>.stride {
                let symbol = symbols[Int(relocations[index].r_info >> 32)]
                if symbol.st_shndx == 0, strcmp(names + Int(symbol.st_name), name) == 0 { return true }
            }
        }
        return false
    }
}
