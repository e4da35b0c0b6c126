/* Waits to be told to end: what holds the namespaces of a pod, of a node, of the wire between the nodes. */
#include <signal.h>
#include <unistd.h>

static void end(int signal_number) {
    (void)signal_number;
    _exit(0);
}

int main(void) {
    signal(SIGINT, end);
    signal(SIGTERM, end);
    /* The first process of a namespace inherits its orphans. Ignored, they leave no zombies. */
    signal(SIGCHLD, SIG_IGN);
    for (;;)
        pause();
}
