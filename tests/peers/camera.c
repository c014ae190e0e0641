/* A camera of another DDS vendor: publishes rgb8 images at a steady rate and writes down what it sent.
 *
 *     camera DOMAIN TOPIC WIDTH HEIGHT RATE_HZ SECONDS LOG
 *
 * Each image bears its number in its first four bytes and a gradient that moves with it. LOG gets one line per image, its
 * stamp in nanoseconds. It starts when a reader is there and gives up after a minute without one. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "Image.h"
#include "dds/dds.h"

#define NS_PER_S INT64_C(1000000000)

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

static void paint(uint8_t *rgb, int width, int height, uint32_t number) {
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++) {
            uint8_t *pixel = rgb + 3 * ((size_t)y * width + x);
            pixel[0] = (uint8_t)(x + number);
            pixel[1] = (uint8_t)(y + 2 * number);
            pixel[2] = (uint8_t)(number >> 2);
        }
    }
    for (int i = 0; i < 4; i++) rgb[i] = (uint8_t)(number >> (8 * i));
}

static int wait_for_reader(dds_entity_t writer) {
    dds_publication_matched_status_t matched = {0};
    for (int i = 0; i < 600; i++) {
        if (dds_get_publication_matched_status(writer, &matched) == 0 && matched.current_count > 0) return 1;
        dds_sleepfor(DDS_MSECS(100));
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 8) {
        fprintf(stderr, "usage: camera DOMAIN TOPIC WIDTH HEIGHT RATE_HZ SECONDS LOG\n");
        return 2;
    }
    int width = atoi(argv[3]), height = atoi(argv[4]);
    double rate_hz = atof(argv[5]);
    int n_images = (int)(rate_hz * atof(argv[6]));
    FILE *log = fopen(argv[7], "w");
    size_t n_bytes = (size_t)width * height * 3;
    uint8_t *rgb = malloc(n_bytes);
    dds_entity_t participant = dds_create_participant((dds_domainid_t)atoi(argv[1]), NULL, NULL);
    char name[256];
    snprintf(name, sizeof name, "rt%s", argv[2]);
    dds_entity_t topic = dds_create_topic(participant, &sensor_msgs_msg_dds__Image__desc, name, NULL, NULL);
    dds_qos_t *qos = dds_create_qos();
    dds_qset_reliability(qos, DDS_RELIABILITY_BEST_EFFORT, 0);
    dds_qset_history(qos, DDS_HISTORY_KEEP_LAST, 5);
    dds_entity_t writer = dds_create_writer(participant, topic, qos, NULL);
    if (log == NULL || rgb == NULL || participant < 0 || topic < 0 || writer < 0) {
        fprintf(stderr, "camera: cannot start\n");
        return 1;
    }
    if (!wait_for_reader(writer)) {
        fprintf(stderr, "camera: no reader came\n");
        return 1;
    }
    /* The reader may match a moment later than we do. */
    dds_sleepfor(DDS_MSECS(1500));
    int64_t start = now_ns();
    for (int i = 0; i < n_images; i++) {
        int64_t wait = start + (int64_t)(i / rate_hz * NS_PER_S) - now_ns();
        if (wait > 0) dds_sleepfor(wait);
        paint(rgb, width, height, (uint32_t)i);
        int64_t stamp = now_ns();
        sensor_msgs_msg_dds__Image_ image = {0};
        image.header.stamp.sec = (int32_t)(stamp / NS_PER_S);
        image.header.stamp.nanosec = (uint32_t)(stamp % NS_PER_S);
        image.header.frame_id = "peer_camera";
        image.height = (uint32_t)height;
        image.width = (uint32_t)width;
        image.encoding = "rgb8";
        image.step = (uint32_t)(3 * width);
        image.data._buffer = rgb;
        image.data._length = image.data._maximum = (uint32_t)n_bytes;
        if (dds_write(writer, &image) < 0) {
            fprintf(stderr, "camera: image %d was not sent\n", i);
            return 1;
        }
        fprintf(log, "%" PRId64 "\n", stamp);
    }
    fclose(log);
    dds_sleepfor(DDS_SECS(1));
    dds_delete(participant);
    return 0;
}
