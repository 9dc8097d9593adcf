/* quern/folder.h - open a folder of models beneath another, without following links.
 * Threads: any. err: NULL or the caller's own. */
#ifndef QUERN_FOLDER_H
#define QUERN_FOLDER_H

#include "quern/error.h"

/** Open the folder `name` beneath dir_fd: no component may be "..", absolute or a link. *fd is the caller's to close.
 *  Fails with QN_ERR_NOT_FOUND, QN_ERR_INVALID (a link, not a folder), QN_ERR_IO, QN_ERR_NOMEM, QN_ERR_UNSUPPORTED (kernel before 5.6). */
qn_status qn_folder_open(int dir_fd, const char *name, int *fd, qn_error *err);

#endif
