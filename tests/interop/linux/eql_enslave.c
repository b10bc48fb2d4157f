/* eql_enslave MASTER SLAVE SPEED: give an interface to Linux's eql, as the program of 1995 did. The master has to be up.
   eql_enslave --emancipate MASTER SLAVE: take it away.
   Build: cc -O2 -o eql_enslave eql_enslave.c */
#include <linux/if.h>
#include <linux/if_eql.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: eql_enslave MASTER SLAVE SPEED, or --emancipate MASTER SLAVE\n");
		return 2;
	}
	int release = !strcmp(argv[1], "--emancipate");
	const char *master = argv[1 + release], *slave = argv[2 + release];
	slaving_request_t request = {0};
	strncpy(request.slave_name, slave, sizeof request.slave_name - 1);
	request.priority = release ? 0 : atol(argv[3]);
	struct ifreq ifr = {0};
	strncpy(ifr.ifr_name, master, IFNAMSIZ - 1);
	ifr.ifr_data = (void *)&request;
	if (ioctl(socket(AF_INET, SOCK_DGRAM, 0), release ? EQL_EMANCIPATE : EQL_ENSLAVE, &ifr) < 0) {
		perror("eql_enslave");
		return 1;
	}
	return 0;
}
