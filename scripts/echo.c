// echo.c: what bench-dns.sh holds the DNS servers against. It answers each datagram with
// itself, one recvfrom and one sendto, nothing else; only QR is set (RFC 1035 section
// 4.1.1), so that dnsperf takes it for an answer.
//   echo PORT        on 127.0.0.1
//   echo PORT count  also tells, when ended by SIGTERM, by how many different ports it was
//                    asked: the fewest in any 1,000 queries in a row
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { STRETCH = 1000 };
static volatile sig_atomic_t ended;
static void end(int signal) { (void)signal; ended = 1; }

// Of each port the stretch of queries in which it was seen last; stretches begin at 1.
static void count(unsigned port)
{
    static unsigned last_seen[65536], queries, different, fewest = 65536;
    unsigned stretch = queries++ / STRETCH + 1;
    different += last_seen[port] != stretch;
    last_seen[port] = stretch;
    if (queries % STRETCH)
        return;
    if (different < fewest) {
        fewest = different;
        printf("%u\n", fewest); // the last line is the result
    }
    different = 0;
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int counting = argc > 2 && !strcmp(argv[2], "count");
    if (argc < 2)
        return 2;
    address.sin_port = htons(atoi(argv[1]));
    // Without SA_RESTART the signal ends recvfrom.
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = end}, NULL);
    int udp = socket(AF_INET, SOCK_DGRAM, 0);
    // The kernel's default of 208 KB is full with fewer datagrams than dnsperf keeps on the way.
    setsockopt(udp, SOL_SOCKET, SO_RCVBUFFORCE, &(int){4 << 20}, sizeof(int));
    if (bind(udp, (struct sockaddr *)&address, sizeof address)) {
        perror("echo: bind");
        return 1;
    }
    while (!ended) {
        unsigned char message[65536];
        struct sockaddr_in from;
        socklen_t length = sizeof from;
        ssize_t size = recvfrom(udp, message, sizeof message, 0, (struct sockaddr *)&from, &length);
        if (size < 12)
            continue;
        message[2] |= 0x80;
        sendto(udp, message, size, 0, (struct sockaddr *)&from, length);
        if (counting)
            count(ntohs(from.sin_port));
    }
    return 0;
}
