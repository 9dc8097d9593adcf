/* core/onnx/folder.c - a folder by the rules of the one opener in file.c. */
#include "quern/folder.h"

#include "core/base/buf.h"
#include "core/onnx/file.h"

qn_status qn_folder_open(int dir_fd, const char *name, int *fd, qn_error *err)
{
    qn_buf inside; /* the opener takes the name of something in the folder */
    const char *path;
    qn_status st;

    *fd = -1;
    qn_buf_init(&inside, 4096);
    qn_buf_printf(&inside, "%s/x", name);
    path = qn_buf_cstr(&inside);
    st = path ? qn_file_open_folder(dir_fd, path, QN_FILE_BENEATH, fd, err) : qn_error_set(err, QN_ERR_NOMEM, "name of a folder");
    qn_buf_release(&inside);
    return st;
}
