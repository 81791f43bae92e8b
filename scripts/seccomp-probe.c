// seccomp-probe.c: what does the seccomp filter of this container say to each system call? None of them is made: a
// filter of the probe's own hands every call whose sixth argument is MAGIC to a second process, which answers EUCLEAN.
// That is the weakest answer but "allow", seccomp(2) and seccomp_unotify(2): an errno or a death by the container's
// filter outranks it and shows through; what that filter allows ends in EUCLEAN. (Since Linux 6.14 no filter is asked
// about uretprobe(2) and uprobe(2): these two are made, and fail.)
//   seccomp-probe WHAT...          prints what it starts with, four lines of /proc/self/status, and then a line
//                                  `WHAT VERDICT` for each WHAT:
//     NR[:ARG0[:ARG1...]]          a call with these arguments (up to five, the others are 0)
//     NR-NR                        each of these numbers without arguments, a line `NR VERDICT` for each
//     i386:NR[:ARG0...]            through int 0x80, the entry of the 32-bit ABI (x86_64 alone)
//     thread:NR, thread:i386:NR    made by one thread of two: does the other one die with it?
//   VERDICT is allow, EPERM, ENOSYS, errno=N, or killed=N, by that signal; killed=thread where the other thread lived.
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// MAGIC is positive in 32 bits, all that int 0x80 can pass. LOST is no errno.
enum { MAGIC = 0x5ecc0317, LOST = 4096, MOST = 8192 };

static struct call {
    const char *what; // as it is printed; NULL: the number
    int i386, thread;
    unsigned long number, arguments[5];
} calls[MOST];
static int count;

// What the processes that make the calls leave to who prints it: which call they are at, and of each the errno, LOST
// before it is known; -N: it has ended with signal N.
static struct shared {
    int at, verdicts[MOST];
} *shared;

static void fail(const char *what)
{
    fprintf(stderr, "seccomp-probe: %s: %s\n", what, strerror(errno));
    exit(1);
}

// Makes the call with MAGIC as its sixth argument. That register is cleared after it: the C library's next call may
// have fewer arguments, and the filter would find MAGIC there. Returns the errno, 0 for none.
static int make(const struct call *call)
{
    const unsigned long *a = call->arguments;
    long result = (long)call->number;
#if defined __x86_64__
    if (call->i386) { // its sixth argument is ebp
        __asm__ volatile("mov %%rbp, %%r12; mov %6, %%ebp; int $0x80; mov %%r12, %%rbp"
                         : "+a"(result)
                         : "b"(a[0]), "c"(a[1]), "d"(a[2]), "S"(a[3]), "D"(a[4]), "i"(MAGIC)
                         : "r8", "r9", "r10", "r11", "r12", "memory", "cc");
        result = (int)result;
    } else {
        register unsigned long r10 __asm__("r10") = a[3], r8 __asm__("r8") = a[4], r9 __asm__("r9") = MAGIC;
        __asm__ volatile("syscall; xor %%r9d, %%r9d"
                         : "+a"(result), "+r"(r9)
                         : "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8)
                         : "rcx", "r11", "memory", "cc");
    }
#elif defined __aarch64__
    register unsigned long x0 __asm__("x0") = a[0], x1 __asm__("x1") = a[1], x2 __asm__("x2") = a[2];
    register unsigned long x3 __asm__("x3") = a[3], x4 __asm__("x4") = a[4], x5 __asm__("x5") = MAGIC;
    register unsigned long x8 __asm__("x8") = call->number;
    __asm__ volatile("svc #0; mov x5, #0"
                     : "+r"(x0), "+r"(x5)
                     : "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x8)
                     : "memory", "cc");
    result = (long)x0;
#else
#error "how does this machine make a system call?"
#endif
    return result < 0 ? (int)-result : 0;
}

static void *make_in_thread(void *number)
{
    shared->verdicts[*(int *)number] = make(&calls[*(int *)number]);
    return NULL;
}

static void make_all_from(int first)
{
    for (int i = first; i < count; i++) {
        pthread_t other;
        shared->at = i;
        if (!calls[i].thread)
            shared->verdicts[i] = make(&calls[i]);
        // Of a thread that is killed alone the kernel tells who waits for it, as of any that ends.
        else if (pthread_create(&other, NULL, make_in_thread, &i) == 0)
            pthread_join(other, NULL);
    }
}

// Some calls are answered with death: then another process goes on.
static void try_all(void)
{
    for (int first = 0; first < count; first = shared->at + 1) {
        int status;
        pid_t child = fork();
        if (child < 0)
            fail("fork");
        if (child == 0) {
            make_all_from(first);
            _exit(0);
        }
        if (waitpid(child, &status, 0) != child)
            fail("waitpid");
        if (WIFSIGNALED(status))
            shared->verdicts[shared->at] = -WTERMSIG(status);
    }
}

static void say(const struct call *call, int verdict)
{
    if (call->what)
        printf("%s ", call->what);
    else
        printf("%lu ", call->number);
    if (verdict < 0)
        printf("killed=%d\n", -verdict);
    else if (verdict == LOST)
        puts("killed=thread");
    else if (verdict == EUCLEAN || verdict == EPERM || verdict == ENOSYS)
        puts(verdict == EUCLEAN ? "allow" : verdict == EPERM ? "EPERM" : "ENOSYS");
    else
        printf("errno=%d\n", verdict);
}

static void add(const struct call *call)
{
    if (count == MOST) {
        fprintf(stderr, "seccomp-probe: more than %d calls\n", MOST);
        exit(2);
    }
    shared->verdicts[count] = LOST;
    calls[count++] = *call;
}

static void parse(const char *what)
{
    struct call call = {.what = what};
    const char *rest = what;
    char *end;
    if (strncmp(rest, "thread:", 7) == 0)
        call.thread = 1, rest += 7;
    if (strncmp(rest, "i386:", 5) == 0)
        call.i386 = 1, rest += 5;
    call.number = strtoul(rest, &end, 0);
    if (*end == '-') {
        call.what = NULL;
        for (unsigned long last = strtoul(end + 1, &end, 0); *end == 0 && call.number <= last; call.number++)
            add(&call);
    } else {
        for (int i = 0; i < 5 && *end == ':'; i++)
            call.arguments[i] = strtoul(end + 1, &end, 0);
        add(&call);
    }
    if (*end || end == rest) {
        fprintf(stderr, "seccomp-probe: what is '%s'?\n", what);
        exit(2);
    }
}

// What makes two containers comparable, and how many filters there are before the probe's own.
static void say_status(void)
{
    static const char *const fields[] = {"CapBnd:", "NoNewPrivs:", "Seccomp:", "Seccomp_filters:"};
    char line[256], value[32];
    FILE *status = fopen("/proc/self/status", "r");
    if (!status)
        fail("open /proc/self/status");
    while (fgets(line, sizeof line, status))
        for (unsigned i = 0; i < sizeof fields / sizeof *fields; i++)
            if (strncmp(line, fields[i], strlen(fields[i])) == 0 && sscanf(line + strlen(fields[i]), "%31s", value) == 1)
                printf("%s %s\n", fields[i], value);
    fclose(status);
}

// The filter of the probe's own, for this process and all that it forks. Returns the descriptor to answer through.
static int listen_for_magic(void)
{
    struct sock_filter code[] = {
        // The lower half of the sixth argument, on a little-endian machine.
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[5])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MAGIC, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        fail("prctl(PR_SET_NO_NEW_PRIVS)");
    int listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    if (listener < 0)
        fail("seccomp(SECCOMP_FILTER_FLAG_NEW_LISTENER)");
    return listener;
}

static void answer(int listener)
{
    for (;;) {
        struct seccomp_notif call;
        memset(&call, 0, sizeof call); // or the kernel answers EINVAL
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) != 0) {
            if (errno == EINTR || errno == ENOENT)
                continue;
            fail("ioctl(SECCOMP_IOCTL_NOTIF_RECV)");
        }
        struct seccomp_notif_resp response = {.id = call.id, .error = -EUCLEAN};
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response) != 0 && errno != ENOENT)
            fail("ioctl(SECCOMP_IOCTL_NOTIF_SEND)");
    }
}

int main(int argc, char **argv)
{
    int status;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        fail("mmap");
    add(&(struct call){.number = SYS_getpid}); // for itself: nobody refuses this one
    for (int i = 1; i < argc; i++)
        parse(argv[i]);
    say_status();
    fflush(stdout); // or each process that is forked has it to write, too
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); // who dies of SIGSYS leaves no core
    int listener = listen_for_magic();
    pid_t answers = fork();
    if (answers < 0)
        fail("fork");
    if (answers == 0)
        answer(listener);
    close(listener); // he alone has it: if he fails, who waits gets ENOSYS
    try_all();
    if (shared->verdicts[0] != EUCLEAN || waitpid(answers, &status, WNOHANG) != 0) {
        fprintf(stderr, "seccomp-probe: getpid gets %d: nothing here can be believed\n", shared->verdicts[0]);
        return 1;
    }
    kill(answers, SIGKILL);
    for (int i = 1; i < count; i++)
        say(&calls[i], shared->verdicts[i]);
    return fflush(stdout) == 0 ? 0 : 1;
}
