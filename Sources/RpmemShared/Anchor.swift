// The target that librpmem.so.1 is linked from. It exists for its linker settings alone: on a target that others link
// they would get into programs and tests.
