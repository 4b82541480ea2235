/*
 * Reads the commands on the standard input of a peer, one a line. The end of the
 * input ends the program.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void on_command(const char *line);

static void read_commands(void) {
  static char buffer[256];
  static size_t length;
  ssize_t n = read(0, buffer + length, sizeof buffer - 1 - length);
  if (n <= 0) exit(0);
  length += (size_t)n;
  buffer[length] = 0;
  char *end;
  while ((end = strchr(buffer, '\n'))) {
    *end = 0;
    on_command(buffer);
    length -= (size_t)(end + 1 - buffer);
    memmove(buffer, end + 1, length + 1);
  }
}
