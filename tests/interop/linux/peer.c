/* What the tests need at both ends and no package ships: eql's ioctls, SLIP's line discipline, a hang-up, and a TCP
   and a UDP sender and receiver that tell what they saw as one line of JSON. Built by image.py, statically. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_eql.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_slip.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what)
{
	fprintf(stderr, "peer: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* ---- eql */

static int eql_ioctl(const char *device, int request, void *data, int may_fail)
{
	struct ifreq ifr = {0};
	int sock = socket(AF_INET, SOCK_DGRAM, 0);
	strncpy(ifr.ifr_name, device, IFNAMSIZ - 1);
	ifr.ifr_data = data;
	int result = ioctl(sock, request, &ifr);
	if (result < 0 && !may_fail)
		fail("eql's ioctl");
	close(sock);
	return result;
}

static int eql(int argc, char **argv)
{
	const char *what = argv[0], *device = argv[1];
	if (!strcmp(what, "enslave") || !strcmp(what, "emancipate")) {
		slaving_request_t request = {0};
		strncpy(request.slave_name, argv[2], sizeof request.slave_name - 1);
		request.priority = argc > 3 ? atol(argv[3]) : 0;
		eql_ioctl(device, strcmp(what, "enslave") ? EQL_EMANCIPATE : EQL_ENSLAVE, &request, 0);
	} else if (!strcmp(what, "slave")) {
		slave_config_t config = {0};
		strncpy(config.slave_name, argv[2], sizeof config.slave_name - 1);
		if (eql_ioctl(device, EQL_GETSLAVECFG, &config, 1) < 0) {
			printf("none\n");
			return 0;
		}
		if (argc > 3) {
			config.priority = atol(argv[3]);
			eql_ioctl(device, EQL_SETSLAVECFG, &config, 0);
		}
		printf("%ld\n", (long)config.priority);
	} else if (!strcmp(what, "master")) {
		master_config_t config = {0};
		eql_ioctl(device, EQL_GETMASTRCFG, &config, 0);
		if (argc > 3) {
			config.max_slaves = atoi(argv[2]);
			config.min_slaves = atoi(argv[3]);
			eql_ioctl(device, EQL_SETMASTRCFG, &config, 0);
		}
		printf("%d %d\n", config.max_slaves, config.min_slaves);
	} else {
		return 2;
	}
	return 0;
}

/* ---- serial */

static int open_tty(const char *device)
{
	int fd = open(device, O_RDWR | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		fail(device);
	return fd;
}

/* slip DEVICE MTU KEEPALIVE OUTFILL: put SLIP on the line, print the interface, stay until the line or we end. */
static int slip(int argc, char **argv)
{
	int fd = open_tty(argv[0]);
	struct termios t;
	if (tcgetattr(fd, &t) < 0)
		fail(argv[0]);
	cfmakeraw(&t);
	t.c_cflag |= CLOCAL | CREAD;
	cfsetspeed(&t, B115200);
	if (tcsetattr(fd, TCSANOW, &t) < 0)
		fail(argv[0]);
	int discipline = N_SLIP;
	if (ioctl(fd, TIOCSETD, &discipline) < 0)
		fail("the SLIP line discipline");
	int encapsulation = SL_MODE_SLIP; /* it begins as "adaptive" */
	if (ioctl(fd, SIOCSIFENCAP, &encapsulation) < 0)
		fail("SIOCSIFENCAP");
	char name[IFNAMSIZ] = {0};
	if (ioctl(fd, SIOCGIFNAME, name) < 0)
		fail("SIOCGIFNAME");
	struct ifreq ifr = {0};
	strcpy(ifr.ifr_name, name);
	ifr.ifr_mtu = atoi(argv[1]); /* it sizes the receive buffer, too */
	int sock = socket(AF_INET, SOCK_DGRAM, 0);
	if (ioctl(sock, SIOCSIFMTU, &ifr) < 0)
		fail("the MTU");
	int keepalive = atoi(argv[2]), outfill = atoi(argv[3]);
	if (ioctl(fd, SIOCSKEEPALIVE, &keepalive) < 0 || ioctl(fd, SIOCSOUTFILL, &outfill) < 0)
		fail("keepalive or outfill");
	printf("%s\n", name);
	fflush(stdout);
	signal(SIGHUP, SIG_IGN);
	for (;;) { /* the interface goes with the file, or with the line */
		struct pollfd p = {fd, 0, 0};
		poll(&p, 1, 200);
		if (p.revents & (POLLHUP | POLLERR))
			return 0;
	}
}

/* What a modem's falling carrier does to a port. */
static int hangup(int argc, char **argv)
{
	if (ioctl(open_tty(argv[0]), TIOCVHANGUP) < 0)
		fail("TIOCVHANGUP");
	return 0;
}

/* ---- TCP */

static socklen_t resolve(struct sockaddr_storage *a, const char *address, const char *port)
{
	struct sockaddr_in *four = (void *)a;
	struct sockaddr_in6 *six = (void *)a;
	memset(a, 0, sizeof *a);
	if (inet_pton(AF_INET, address, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons(atoi(port));
		return sizeof *four;
	}
	if (inet_pton(AF_INET6, address, &six->sin6_addr) == 1) {
		six->sin6_family = AF_INET6;
		six->sin6_port = htons(atoi(port));
		return sizeof *six;
	}
	fprintf(stderr, "peer: %s is no address\n", address);
	exit(2);
}

/* The kernel's counter NAME of /proc/net/FILE, section PREFIX; the network namespace's own. */
static long counter(const char *file, const char *prefix, const char *name)
{
	static char head[8192], values[8192];
	FILE *f = fopen(file, "r");
	if (!f)
		return -1;
	while (fgets(head, sizeof head, f) && fgets(values, sizeof values, f)) {
		if (strncmp(head, prefix, strlen(prefix)))
			continue;
		char *h, *v, *n = strtok_r(head, " \n", &h), *m = strtok_r(values, " \n", &v);
		while (n && m) {
			if (!strcmp(n, name)) {
				fclose(f);
				return atol(m);
			}
			n = strtok_r(NULL, " \n", &h);
			m = strtok_r(NULL, " \n", &v);
		}
	}
	fclose(f);
	return -1;
}

static long out_of_order(void)
{
	return counter("/proc/net/netstat", "TcpExt:", "TCPOFOQueue");
}

/* send ADDRESS PORT FILE CONGESTION [LIMIT SECONDS] */
static int send_file(int argc, char **argv)
{
	struct sockaddr_storage a;
	socklen_t size = resolve(&a, argv[0], argv[1]);
	double limit = argc > 4 ? atof(argv[4]) : 1e9;
	int in = open(argv[2], O_RDONLY);
	if (in < 0)
		fail(argv[2]);
	int sock = socket(a.ss_family, SOCK_STREAM, 0);
	if (strcmp(argv[3], "default") && setsockopt(sock, IPPROTO_TCP, TCP_CONGESTION, argv[3], strlen(argv[3])) < 0)
		fail(argv[3]);
	double began = now();
	if (connect(sock, (void *)&a, size) < 0)
		fail("connect");
	char buffer[65536];
	ssize_t n;
	long sent = 0;
	while ((n = read(in, buffer, sizeof buffer)) > 0) {
		for (ssize_t done = 0; done < n;) {
			struct pollfd p = {sock, POLLOUT, 0};
			if (poll(&p, 1, 1000) > 0) {
				ssize_t m = send(sock, buffer + done, n - done, MSG_DONTWAIT | MSG_NOSIGNAL);
				if (m < 0 && (errno == EPIPE || errno == ECONNRESET))
					goto late; /* the receiver has given it up */
				if (m < 0 && errno != EAGAIN)
					fail("send");
				if (m > 0)
					done += m, sent += m;
			}
			if (now() - began > limit)
				goto late;
		}
	}
	shutdown(sock, SHUT_WR);
	for (;;) { /* the receiver closes when it has all */
		struct pollfd p = {sock, POLLIN, 0};
		if (poll(&p, 1, 1000) > 0 && recv(sock, buffer, sizeof buffer, 0) <= 0)
			break;
		if (now() - began > limit)
			break;
	}
late:;
	struct tcp_info info = {0};
	size = sizeof info;
	getsockopt(sock, IPPROTO_TCP, TCP_INFO, &info, &size);
	printf("{\"sent\": %ld, \"acknowledged\": %llu, \"seconds\": %.3f, \"retransmits\": %u, \"mss\": %u}\n", sent,
	       (unsigned long long)info.tcpi_bytes_acked, now() - began, info.tcpi_total_retrans, info.tcpi_snd_mss);
	return 0;
}

/* A socket that sees what comes in; -1 without the right to have one. */
static int tap(void)
{
	int size = 1 << 20, sock = socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_IP));
	setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	return sock;
}

/* How many of the segments that wait in `sock` were overtaken on their way: the kernel that sends counts the segments
   of a connection in IPv4's identification, so what is sent again does not count, unlike in TCPOFOQueue. */
static long overtaken(int sock, int port)
{
	static int known;
	static uint16_t highest;
	long count = 0;
	unsigned char p[128];
	struct sockaddr_ll from;
	for (;;) {
		socklen_t length = sizeof from;
		ssize_t n = recvfrom(sock, p, sizeof p, MSG_DONTWAIT, (void *)&from, &length);
		if (n < 0)
			return count;
		int header = (p[0] & 15) * 4, size = p[2] << 8 | p[3];
		if (from.sll_pkttype == PACKET_OUTGOING || n < header + 20 || p[9] != IPPROTO_TCP ||
		    (p[header + 2] << 8 | p[header + 3]) != port || size <= header + (p[header + 12] >> 4) * 4)
			continue;
		uint16_t number = p[4] << 8 | p[5];
		if (known && (int16_t)(number - highest) < 0)
			count++;
		else
			highest = number;
		known = 1;
	}
}

/* receive ADDRESS PORT FILE [LIMIT SECONDS]: says "ready" first; seconds from the connection's start to its end. */
static int receive_file(int argc, char **argv)
{
	struct sockaddr_storage a;
	socklen_t size = resolve(&a, argv[0], argv[1]);
	double limit = argc > 3 ? atof(argv[3]) : 1e9;
	int on = 1, server = socket(a.ss_family, SOCK_STREAM, 0);
	setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(server, (void *)&a, size) < 0 || listen(server, 1) < 0)
		fail("bind");
	long before = out_of_order(), passed = 0;
	int watch = tap();
	printf("ready\n");
	fflush(stdout);
	struct pollfd p = {server, POLLIN, 0};
	if (poll(&p, 1, 120000) <= 0)
		fail("nobody called");
	int sock = accept(server, NULL, NULL);
	int out = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (sock < 0 || out < 0)
		fail("accept");
	double began = now(), last = began, longest = 0;
	long received = 0, segments = 0;
	char buffer[65536];
	int whole = 0;
	while (now() - began < limit) {
		p.fd = sock;
		if (poll(&p, 1, 1000) <= 0)
			continue;
		passed += overtaken(watch, atoi(argv[1]));
		ssize_t n = recv(sock, buffer, sizeof buffer, 0);
		if (n <= 0) {
			whole = n == 0;
			break;
		}
		if (write(out, buffer, n) != n)
			fail(argv[2]);
		received += n;
		if (now() - last > longest)
			longest = now() - last;
		last = now();
	}
	struct tcp_info info = {0};
	size = sizeof info;
	getsockopt(sock, IPPROTO_TCP, TCP_INFO, &info, &size);
	segments = info.tcpi_data_segs_in;
	printf("{\"received\": %ld, \"whole\": %s, \"seconds\": %.3f, \"segments\": %ld, \"out_of_order\": %ld, "
	       "\"overtaken\": %ld, \"longest_gap\": %.3f}\n",
	       received, whole ? "true" : "false", last - began, segments, out_of_order() - before,
	       watch < 0 ? -1 : passed + overtaken(watch, atoi(argv[1])), longest);
	return 0;
}

/* ---- UDP: a 4-byte number, then bytes that follow from it */

static void fill(unsigned char *data, int size, uint32_t number)
{
	uint32_t x = number * 2654435761u + 1;
	memcpy(data, &(uint32_t){htonl(number)}, 4);
	for (int i = 4; i < size; i++) {
		x = x * 1664525u + 1013904223u;
		data[i] = x >> 24;
	}
}

/* flood ADDRESS PORT COUNT SIZE SECONDS: COUNT datagrams of SIZE bytes of payload, one every SECONDS. */
static int flood(int argc, char **argv)
{
	struct sockaddr_storage a;
	socklen_t length = resolve(&a, argv[0], argv[1]);
	int count = atoi(argv[2]), size = atoi(argv[3]), failed = 0;
	double interval = atof(argv[4]), began = now();
	unsigned char data[65536];
	int sock = socket(a.ss_family, SOCK_DGRAM, 0);
	for (int i = 0; i < count; i++) {
		double wait = began + i * interval - now();
		if (wait > 0)
			usleep(wait * 1e6);
		fill(data, size, i);
		if (sendto(sock, data, size, 0, (void *)&a, length) != size)
			failed++;
	}
	printf("{\"sent\": %d, \"refused\": %d, \"seconds\": %.3f}\n", count, failed, now() - began);
	return 0;
}

static volatile sig_atomic_t enough;

static void stop(int number)
{
	enough = number;
}

/* collect ADDRESS PORT COUNT PATIENCE: until COUNT different ones came, or none for PATIENCE seconds, or SIGTERM. */
static int collect(int argc, char **argv)
{
	struct sockaddr_storage a;
	socklen_t length = resolve(&a, argv[0], argv[1]);
	long count = atol(argv[2]), received = 0, duplicates = 0, damaged = 0, late = 0, furthest = 0;
	double patience = atof(argv[3]), first = 0, last = 0, longest = 0;
	int64_t highest = -1;
	unsigned char *seen = calloc(count, 1), data[65536], right[65536];
	int size = 1 << 20, sock = socket(a.ss_family, SOCK_DGRAM, 0);
	setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	if (bind(sock, (void *)&a, length) < 0)
		fail("bind");
	signal(SIGTERM, stop);
	printf("ready\n");
	fflush(stdout);
	while (received < count && !enough) {
		struct pollfd p = {sock, POLLIN, 0};
		if (poll(&p, 1, (first ? patience : 60) * 1000) <= 0)
			break;
		ssize_t n = recv(sock, data, sizeof data, 0);
		double t = now();
		uint32_t number;
		if (n < 4)
			continue;
		memcpy(&number, data, 4);
		number = ntohl(number);
		fill(right, n, number);
		if (number >= count || memcmp(data, right, n)) {
			damaged++;
			continue;
		}
		if (first && t - last > longest)
			longest = t - last;
		if (!first)
			first = t;
		last = t;
		if (seen[number]) {
			duplicates++;
			continue;
		}
		seen[number] = 1;
		received++;
		if ((int64_t)number < highest) {
			late++;
			if (highest - number > furthest)
				furthest = highest - number;
		} else {
			highest = number;
		}
	}
	long lowest = 0, end = count; /* of those that are missing, and behind */
	while (lowest < count && seen[lowest])
		lowest++;
	while (end > lowest && seen[end - 1])
		end--;
	printf("{\"received\": %ld, \"lost\": %ld, \"span_lost\": %ld, \"duplicates\": %ld, \"damaged\": %ld, "
	       "\"out_of_order\": %ld, \"furthest_back\": %ld, \"seconds\": %.3f, \"longest_gap\": %.3f}\n",
	       received, count - received, end - lowest, duplicates, damaged, late, furthest, last - first, longest);
	return 0;
}

static const struct {
	const char *name;
	int arguments;
	int (*run)(int, char **);
} commands[] = {
	{"eql", 2, eql},     {"slip", 4, slip},   {"hangup", 1, hangup}, {"send", 4, send_file}, {"receive", 3, receive_file},
	{"flood", 5, flood}, {"collect", 4, collect},
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof *commands; i++)
		if (!strcmp(argv[1], commands[i].name) && argc - 2 >= commands[i].arguments)
			return commands[i].run(argc - 2, argv + 2);
	fprintf(stderr, "usage: peer eql|slip|hangup|send|receive|flood|collect ARGUMENTS\n");
	return 2;
}
