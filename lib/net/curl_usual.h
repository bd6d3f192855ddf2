/*
 * What every request of ours asks of libcurl, whoever sends it: the URL as it was given, no proxy,
 * no redirect, HTTP/1.1 only, no signals, and no wait for a name that is still being looked up.
 */
#ifndef RAFTKV_NET_CURL_USUAL_H
#define RAFTKV_NET_CURL_USUAL_H

#include <curl/curl.h>

void curl_usual(CURL *easy);

#endif
