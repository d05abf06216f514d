// How the sanitizers' runtimes behave in every program of a run. Linked in, not said in the environment: most of the
// programs are started with an environment of the test's own, or with what sshd leaves of it.
//
// REPORTS is where reports go, a path and the start of a name; SETTINGS is the directory of this file; SYMBOLIZER is
// llvm-symbolizer. The status is one that no test expects of a failure.
#define COMMON "log_path=" REPORTS ":log_exe_name=1:exitcode=66:external_symbolizer_path=" SYMBOLIZER

// A program goes on after a report, so that one run finds all there is. Children of threaded programs start threads. A
// daemon that ends abruptly (AbruptEnd.swift) joins no thread on purpose.
const char *__tsan_default_options(void) {
    return COMMON ":halt_on_error=0:atexit_sleep_ms=50:die_after_fork=0:second_deadlock_stack=1:report_thread_leaks=0";
}

// With strict_string_checks, strndup would have to be given a text that ends, which it is not for.
const char *__asan_default_options(void) {
    return COMMON ":detect_leaks=1:strict_string_checks=1:intercept_strndup=0:check_initialization_order=1"
                  ":detect_stack_use_after_return=1";
}

// The suppressions that were used would be taken for a report.
const char *__lsan_default_options(void) { return "suppressions=" SETTINGS "/leak.supp:print_suppressions=0"; }
