/* mpi_counts.c: linked to an MPI program, what each rank has sent, held and computed, by MPI's profiling interface.
 * At MPI_Finalize each rank adds a line to the file that MPI_COUNTS names: rank, bytes sent, bytes of memory at most with
 * what it had read of mapped files, seconds of its processors. A broadcast counts at its root, once for each other
 * rank; a sum over all, once there and once back.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double sent;

static double bytes_of(int count, MPI_Datatype type)
{
    int size = 0;
    MPI_Type_size(type, &size);
    return (double)count * size;
}

int MPI_Send(const void *data, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm)
{
    sent += bytes_of(count, type);
    return PMPI_Send(data, count, type, to, tag, comm);
}

int MPI_Bcast(void *data, int count, MPI_Datatype type, int root, MPI_Comm comm)
{
    int rank, ranks;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &ranks);
    if (rank == root) sent += bytes_of(count, type) * (ranks - 1);
    return PMPI_Bcast(data, count, type, root, comm);
}

int MPI_Allreduce(const void *data, void *sum, int count, MPI_Datatype type, MPI_Op op, MPI_Comm comm)
{
    int rank, ranks;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &ranks);
    sent += bytes_of(count, type) * (rank == 0 ? ranks - 1 : 1);
    return PMPI_Allreduce(data, sum, count, type, op, comm);
}

/* A line of /proc/self/status, in bytes; 0 where there is none. */
static double status_line(const char *name)
{
    char line[256];
    double kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, name, strlen(name)) == 0) kib = atof(line + strlen(name));
    if (file != NULL) fclose(file);
    return kib * 1024;
}

int MPI_Finalize(void)
{
    const char *path = getenv("MPI_COUNTS");
    FILE *file = path != NULL ? fopen(path, "a") : NULL;
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (file != NULL) {
        fprintf(file, "%d %.0f %.0f %.3f\n", rank, sent, status_line("VmHWM:"), (double)clock() / CLOCKS_PER_SEC);
        fclose(file);
    }
    return PMPI_Finalize();
}
