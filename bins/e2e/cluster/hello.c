/* A server that says its name, and a command that repeats a word: what a pod of the harness's own tests runs. */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void end(int signal_number) {
    (void)signal_number;
    _exit(0);
}

static int serve(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(8080), .sin_addr.s_addr = htonl(INADDR_ANY)};
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    char name[64] = "", request[2048], response[256];
    gethostname(name, sizeof name - 1);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16)) {
        perror("hello: port 8080");
        return 1;
    }
    printf("hello from %s\n", name);
    fflush(stdout);
    for (;;) {
        int peer = accept(listener, NULL, NULL);
        if (peer < 0)
            continue;
        if (read(peer, request, sizeof request) > 0) {
            int length = snprintf(response, sizeof response, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s\n",
                                  strlen(name) + 1, name);
            if (write(peer, response, (size_t)length) < 0)
                perror("hello: write");
        }
        shutdown(peer, SHUT_WR);
        while (read(peer, request, sizeof request) > 0) {
        }
        close(peer);
    }
}

int main(int count, char **words) {
    signal(SIGTERM, end);
    signal(SIGINT, end);
    if (count == 3 && strcmp(words[1], "say") == 0)
        return puts(words[2]) < 0;
    return serve();
}
