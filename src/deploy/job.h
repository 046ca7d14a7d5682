/* job.h - `slipway job NAME …`: long work of our own that runs as a unit, under the uid of what it
 * touches.
 *
 *   unpack FOLDER BYTES FILES    a tar stream on standard input into FOLDER (emptied first), within
 * the ceilings publish FROM TO              a built static site into its final, immutable form
 *   remove-tree FOLDER           everything in FOLDER; FOLDER itself when the uid may
 *   database-prepare             see data/prepare.h
 */
#ifndef DEPLOY_JOB_H
#define DEPLOY_JOB_H

/* argv[0] is the job's name. Errors go to stderr as "slipway: …" and "HINT: …". Returns the exit
 * status. */
int job_main(int argc, char **argv);

#endif
