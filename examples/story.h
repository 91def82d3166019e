/*
 * story.h - the text that perplexity is measured on where no other is given
 *
 * For gpt2_demo.c and bench/language.c, which both must measure the same text. Include it behind gpt2.h.
 */
#ifndef STORY_H
#define STORY_H

/* Written for this project. One string a paragraph. */
static const char *const story[] = {
    "There was once an old man who lived with his granddaughter in a little white house at the "
    "edge of the sea. The girl was called Ellen, and she was nine years old. Every evening, "
    "when the sun had gone down behind the hill, the old man took his lamp and climbed the "
    "narrow stair to the top of the tower, and there he lit the great lantern, so that the "
    "ships which passed in the night should not be lost upon the rocks.",
    "\"Grandfather,\" said Ellen one day, \"why do you never let me carry the lamp? I am quite "
    "strong enough.\"",
    "\"You are strong enough, my dear,\" answered the old man, \"but the stair is steep, and "
    "there is a wind at the top of it that would be very glad to blow you into the water. When "
    "you are older you shall carry it, and I will sit by the fire and be idle.\"",
    "Ellen did not like this answer, but she was a sensible child, and she said no more about "
    "it. She went down to the shore and looked for shells, and talked to the gulls, who never "
    "made any reply, and when she was tired she came home and made the tea.",
    "Now it happened that in the beginning of the winter the old man fell ill. He had been out "
    "in the rain to mend the boat, and in the morning he could not rise from his bed. His face "
    "was white, and his hands shook, and when Ellen brought him a cup of milk he only smiled at "
    "her and turned his head away.",
    "\"You must go to the village,\" he said at last, in a low voice, \"and ask the doctor to "
    "come. But go quickly, for I do not like the look of the sky, and you must be back before "
    "it is dark.\"",
    "So Ellen put on her cloak and her thick boots, and ran along the path by the cliff. The "
    "village was three miles away, and the road was long and muddy. When she came to the "
    "doctor's house she knocked at the door with both hands, and a tall woman in a black dress "
    "opened it and looked down at her.",
    "\"The doctor is not at home,\" said the woman. \"He was sent for this morning to the great "
    "house beyond the wood, and he will not return before to-morrow. Come in, child, and warm "
    "yourself.\"",
    "\"I thank you,\" said Ellen, \"but I cannot stay. My grandfather is alone, and there is "
    "nobody to light the lamp.\" And before the woman could say another word she had turned and "
    "was running back the way she had come.",
    "By this time the wind had begun to rise. Great clouds came up out of the west, and the "
    "sea, which had been grey and quiet all the morning, grew black, and threw itself upon the "
    "stones with a noise like thunder. Twice Ellen was nearly blown from the path, and once she "
    "fell and hurt her knee; but she got up again, and held her cloak about her, and went on. "
    "It was almost night when she saw the white walls of the house before her.",
    "The old man was asleep. She put some wood upon the fire, and set a cup of water by his "
    "side, and then she stood for a moment in the middle of the room and thought. The tower was "
    "dark. Somewhere out upon the water there were men who looked for a light, and there was no "
    "light to be seen.",
    "\"He said that I should carry it when I was older,\" said Ellen to herself, \"and I am "
    "certainly older than I was this morning.\"",
    "She took the lamp in her hand and began to climb. There were a great many steps in the "
    "stair, and she counted every one of them aloud, because it was less lonely than to be "
    "silent. The wind cried at the windows. At the top there was a heavy door, and when she "
    "opened it the storm came in with such a rush that the little flame bent down and turned "
    "blue, and she was afraid that it would go out. But she kept her hand before it, and spoke "
    "to it kindly, as if it had been a small frightened bird, and it stood up again.",
    "Then she lit the great lantern. It burned low at first, and then bright, and then so "
    "bright that she was forced to shut her eyes; and the light went out over the sea, farther "
    "and farther, until it seemed to touch the end of the world.",
    "All that night she sat in the tower and watched it. She told herself stories to keep "
    "awake, and when she had come to the end of the stories she sang, and when she could sing "
    "no longer she only held on. Toward morning the wind fell, and she saw a ship, with torn "
    "sails, moving slowly round the point and into the harbour.",
    "The captain came to the house that same day, and with him came the doctor, whom he had met "
    "upon the road. The doctor gave the old man something bitter in a glass, and said that he "
    "would be well before the spring. But the captain took off his hat to Ellen, just as if she "
    "had been a queen.",
    "\"I have been at sea for thirty years, miss,\" said he, \"and I never in my life was so "
    "glad of anything as I was of that light. Who was it that lit the lamp?\"",
    "Ellen grew very red, and looked at her shoes. \"I did, sir,\" she said. \"There was nobody "
    "else.\"",
    "The old man laughed for the first time in many days. \"Then I may sit by the fire and be "
    "idle,\" said he, \"for I see that she is old enough.\"",
};

/* All of it in a new block, with a line end between paragraphs. */
SHARED bytes story_text(void)
{
    const size_t paragraphs = sizeof story / sizeof *story;
    bytes text = {NULL, 0};
    size_t i;

    for (i = 0; i < paragraphs; i++)
        text.size += strlen(story[i]) + 1;
    text.data = (unsigned char *)take(text.size, 1);
    text.size = 0;
    for (i = 0; i < paragraphs; i++) {
        memcpy(text.data + text.size, story[i], strlen(story[i]));
        text.size += strlen(story[i]);
        text.data[text.size++] = '\n';
    }
    text.size--;   /* no line end after the last */
    return text;
}

#endif /* STORY_H */
