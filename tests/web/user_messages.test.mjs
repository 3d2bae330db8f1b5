import assert from 'node:assert/strict';
import { test } from 'node:test';

import { noticeMessage, userMessage } from '../../client/web/user_messages.js';

test('a busy server’s own reason is shown', () => {
  const error = Object.assign(new Error('The server is overloaded: try again later.'), {
    name: 'busy',
  });
  assert.equal(userMessage(error), 'Server busy. The server is overloaded: try again later.');
});

test('a server that is too slow is named by its place', () => {
  const notice = { name: 'too_slow', message: '' };
  assert.match(noticeMessage(notice, 'localhost'), /^This computer is too slow for the codec/);
  assert.match(noticeMessage(notice, 'example.org'), /^The server’s computer is too slow/);
});

test('other notices are shown as they are', () => {
  assert.equal(noticeMessage({ name: 'model_left', message: 'Gone.' }, 'localhost'), 'Gone.');
});
