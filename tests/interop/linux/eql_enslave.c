/* eql_enslave MASTER SLAVE SPEED: give an interface to Linux's eql, as the program of 1995 did. The master has to be up.
   cc -O2 -o eql_enslave eql_enslave.c */
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
		fprintf(stderr, "usage: eql_enslave MASTER SLAVE SPEED\n");
		return 2;
	}
	slaving_request_t request = {0};
	strncpy(request.slave_name, argv[2], sizeof request.slave_name - 1);
	request.priority = atol(argv[3]);
	struct ifreq ifr = {0};
	strncpy(ifr.ifr_name, argv[1], IFNAMSIZ - 1);
	ifr.ifr_data = (void *)&request;
	if (ioctl(socket(AF_INET, SOCK_DGRAM, 0), EQL_ENSLAVE, &ifr) < 0) {
		perror("eql_enslave");
		return 1;
	}
	return 0;
}
